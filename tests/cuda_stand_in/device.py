"""Install the stand-in device. Importing this module is enough; it stays until the process ends."""

from __future__ import annotations

from functools import partial
from typing import Union

import torch
from mmengine.structures import instance_data
from torch import Tensor, UntypedStorage
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

from etram_mmdet.ops import suppression
from tests.cuda_stand_in import waits
from tests.cuda_stand_in.memory import (
    NAME,
    device_storage,
    host_view,
    is_on_device,
    set_storage,
)
from tests.cuda_stand_in.operators import compute

aten = torch.ops.aten
# PyTorch looks for a vendor's own convolution. A mask's places would be found before `index` is
# called.
NO_FALLBACK = (aten.convolution.default, aten.convolution_backward.default, aten.index.Tensor)
MATH_ATTENTION = 0


class Module(_DummyBackendModule):
    """``torch.standin``, which PyTorch and mmengine ask what the device can do."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self, device=None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device=None) -> None:
        torch.set_rng_state(state)

    def synchronize(self, device=None) -> None:
        waits.note("synchronize")


def copy(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy between devices; from or to memory that is not pinned the host waits.

    Args:
        source: tensor on either device.
        target: tensor on either device, which is written to.
        non_blocking: whether the host asks to go on meanwhile. Default: no.
    """
    if is_on_device(source) != is_on_device(target):
        to_device = is_on_device(target)
        ours = (source if to_device else target).untyped_storage()
        if not (non_blocking and getattr(ours, "is_pinned_here", False)):
            pinned = ", not pinned" if non_blocking else ""
            waits.note("copy to the device" + pinned if to_device else "copy to the host" + pinned)
    to = host_view(target) if is_on_device(target) else target
    to.copy_(host_view(source) if is_on_device(source) else source)
    return target


def mark_pinned(tensor: Tensor) -> Tensor:
    """Say that a CPU tensor's memory is pinned, which only an accelerator's driver can do.

    Args:
        tensor: the CPU tensor.
    """
    tensor.untyped_storage().is_pinned_here = True
    return tensor


def _empty(plain, *size, pin_memory: bool = False, **kwargs) -> Tensor:
    made = plain(*size, **kwargs)
    return mark_pinned(made) if pin_memory else made


def _clone_storage(plain, storage: UntypedStorage) -> UntypedStorage:
    """Copy a storage, for ``copy.deepcopy``."""
    if storage.device.type != NAME:
        return plain(storage)
    return device_storage(plain(storage.host))


class _IndexOnDevice(type):
    """The tensors of the device that may index mmengine's InstanceData, as CUDA's may."""

    def __instancecheck__(cls, value: object) -> bool:
        return is_on_device(value) and value.dtype in (torch.long, torch.bool)


def _install() -> list[torch.library.Library]:
    _setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    fallbacks = torch.library.Library("_", "IMPL")
    fallbacks.fallback(compute, "PrivateUse1")
    fallbacks.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    kernels = torch.library.Library("aten", "IMPL")
    for operator in NO_FALLBACK:
        kernels.impl(operator, partial(compute, operator), "PrivateUse1")
    kernels.impl("_fused_sdp_choice", lambda *args, **kwargs: MATH_ATTENTION, "PrivateUse1")
    kernels.impl("_copy_from", copy, "PrivateUse1")
    kernels.impl("set_.source_Storage_storage_offset", set_storage, "PrivateUse1")
    kernels.impl("_pin_memory", lambda tensor, device=None: mark_pinned(tensor.clone()), "CPU")
    torch.empty = partial(_empty, torch.empty)
    # not a `partial`, which would not become a method
    plain = UntypedStorage.clone
    UntypedStorage.clone = lambda storage: _clone_storage(plain, storage)
    instance_data.IndexType = Union[instance_data.IndexType, _IndexOnDevice("Index", (), {})]  # noqa: UP007
    suppression.BLOCK[NAME] = suppression.BLOCK["cuda"]
    return [fallbacks, kernels]


_REGISTERED = _install()  # ends with these objects
