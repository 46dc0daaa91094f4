"""Values of small buffers of a model, read from the GPU only after they have changed."""

from __future__ import annotations

from torch import Tensor


class HostCopy:
    """A copy of one buffer in host memory, which is read again when the buffer has changed.

    PyTorch counts the changes of every tensor. A buffer that is loaded, moved to another device or
    copied with its model is read again.
    """

    def __init__(self) -> None:
        self._seen: tuple[Tensor, int, Tensor] | None = None  # buffer, its changes, the copy

    def of(self, buffer: Tensor) -> Tensor:
        """The values of a buffer, in host memory; the caller must not change them.

        Args:
            buffer: the same one at every call.
        """
        known = self._seen
        if known is None or known[0] is not buffer or known[1] != buffer._version:
            self.keep(buffer, buffer.detach().cpu().clone())
        return self._seen[2]

    def __deepcopy__(self, memo: dict) -> HostCopy:
        return HostCopy()  # the buffers of a copied model count their own changes

    def keep(self, buffer: Tensor, values: Tensor) -> None:
        """Take values that the caller knows a buffer to have.

        Args:
            buffer: the buffer.
            values: its values, in host memory.
        """
        self._seen = buffer, buffer._version, values
