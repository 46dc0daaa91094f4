"""What a program would wait for if its tensors were on a GPU."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode

READS_A_RESULT = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal",
    "bincount",
    "_unique2",
    "unique_dim",
}


class Waits(TorchDispatchMode):
    """Collects the operators whose result, or its size, the host has to know.

    ``tolist`` and ``new_tensor`` are among them.
    """

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else []
        if name in READS_A_RESULT or any(i is not None and i.dtype == torch.bool for i in indices):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self._tolist = torch.Tensor.tolist
        torch.Tensor.tolist = lambda tensor: self.seen.append("tolist") or self._tolist(tensor)
        self._new_tensor = torch.Tensor.new_tensor
        torch.Tensor.new_tensor = self._copied
        return super().__enter__()

    @property
    def _copied(self):
        """``new_tensor`` that is recorded.

        It copies a number to the device and waits for the copy.
        """

        def noticed(tensor, *args, **kwargs):
            self.seen.append("new_tensor")
            return self._new_tensor(tensor, *args, **kwargs)

        return noticed

    def __exit__(self, *error):
        torch.Tensor.tolist = self._tolist
        torch.Tensor.new_tensor = self._new_tensor
        return super().__exit__(*error)
