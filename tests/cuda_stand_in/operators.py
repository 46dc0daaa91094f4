"""Compute any operator of the stand-in device by the CPU's kernels, under CUDA's rules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.cuda_stand_in import waits
from tests.cuda_stand_in.memory import NAME, host_view, is_on_device, lay_over, on_device

# The size or the value of the result depends on values, so the host waits for them.
READS = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
# Besides pointwise operators, these take tensors of the host that have no dimensions.
TAKE_NUMBERS = {"masked_fill", "masked_fill_", "fill_", "index_put_", "_index_put_impl_"}


def compute(operator, *args, **kwargs):
    """Run an operator with tensors on the device, or one that makes such a tensor.

    Args:
        operator: PyTorch's operator.
        args: its arguments.
        kwargs: its arguments by name.

    Raises:
        RuntimeError: tensors are on two devices.
    """
    name = operator._schema.name.split("::")[-1]
    indices = [i for i in args[1] if i is not None] if name in INDEXING else []
    call = _HostCall()
    on_host = each(call.to_host, args)
    on_host_by_name = {key: each(call.to_host, value) for key, value in kwargs.items()}
    _refuse_two_devices(operator, name, indices, call.given)
    _note_waits(operator, name, indices)
    result = operator(*on_host, **on_host_by_name)
    call.take_over_resized()
    return each(call.to_device, result)


def each(function: Callable, value: object) -> object:
    """Apply a function to a value, or to those that lists and tuples hold.

    PyTorch's ``tree_map`` does the same and takes more time than the operators here.

    Args:
        function: takes and returns one value.
        value: anything.
    """
    if isinstance(value, list | tuple):
        return type(value)([each(function, one) for one in value])
    return function(value)


def _refuse_two_devices(operator, name: str, indices: list[Tensor], tensors: list[Tensor]) -> None:
    takes_numbers = torch.Tag.pointwise in operator.tags or name in TAKE_NUMBERS
    strangers = [
        tensor
        for tensor in tensors
        if not is_on_device(tensor)
        and not (takes_numbers and tensor.dim() == 0)
        and not any(tensor is index for index in indices)  # CUDA copies these
    ]
    if strangers and len(strangers) < len(tensors):
        given = ", ".join(f"{tuple(tensor.shape)} on {tensor.device}" for tensor in tensors)
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {operator} got {given}; at "
            f"{waits.place()}"
        )


def _note_waits(operator, name: str, indices: list[Tensor]) -> None:
    if name in INDEXING:
        for index in {id(index): index for index in indices}.values():
            if not is_on_device(index):
                waits.note(f"{name} by indices of the host")
            elif index.dtype == torch.bool:
                waits.note(f"{name} by a mask")
    elif READS & set(operator.tags):
        waits.note(name)


class _HostCall:
    """The tensors of one call: those of the device, and CPU tensors over the same memory."""

    def __init__(self) -> None:
        self.given: list[Tensor] = []  # of both devices
        self.pairs: list[tuple[Tensor, Tensor]] = []  # on the device, on the host

    def to_host(self, value):
        if isinstance(value, torch.device) and value.type == NAME:
            return torch.device("cpu")
        if not isinstance(value, Tensor):
            return value
        self.given.append(value)
        if not is_on_device(value):
            return value
        self.pairs.append((value, host_view(value)))
        return self.pairs[-1][1]

    def take_over_resized(self) -> None:
        """An operator with ``out=`` may have given its result another size and memory."""
        for ours, theirs in self.pairs:
            if ours.shape != theirs.shape or ours.stride() != theirs.stride():
                lay_over(ours, theirs)

    def to_device(self, value):
        if not isinstance(value, Tensor):
            return value
        for ours, theirs in self.pairs:
            if value is theirs:  # computed in place
                return ours
        memory = value.untyped_storage()._cdata
        for ours, theirs in self.pairs:
            if theirs.untyped_storage()._cdata == memory:  # a view
                return on_device(value, ours.untyped_storage())
        return on_device(value)
