"""``torch.autocast`` on the stand-in device. Importing this module gives it CUDA's rules.

PyTorch keeps a list of operators for each kind of device and leaves that of a new one to its maker.
The lists here name what detectors use of those in PyTorch's ``aten/src/ATen/autocast_mode.h``.
"""

from __future__ import annotations

from functools import partial

import torch

from tests.cuda_stand_in.memory import NAME, is_on_device, keys
from tests.cuda_stand_in.operators import each

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
LOWER = (
    "conv2d convolution _convolution linear matmul mm addmm bmm baddbmm "
    "scaled_dot_product_attention"
)
FLOAT32 = (
    "softmax.int log_softmax.int layer_norm group_norm exp log rsqrt pow.Tensor_Scalar prod "
    "prod.dim_int sum sum.dim_IntList cumsum l1_loss mse_loss smooth_l1_loss "
    "binary_cross_entropy_with_logits"
)
WIDEST = "addcmul addcdiv dot cat stack scatter_add index_put grid_sampler"
REFUSED = "binary_cross_entropy"  # the logarithm of a small probability overflows


def in_lower(operator, *args, **kwargs):
    return _called_with(operator, torch.get_autocast_dtype(NAME), args, kwargs)


def in_float32(operator, *args, **kwargs):
    return _called_with(operator, torch.float32, args, kwargs)


def in_widest(operator, *args, **kwargs):
    lower = torch.get_autocast_dtype(NAME)
    given = set()
    each(
        lambda value: given.add(value.dtype) if _is_float(value) else None, [args, *kwargs.values()]
    )
    return _called_with(operator, lower if given == {lower} else torch.float32, args, kwargs)


def refuse(operator, *args, **kwargs):
    raise RuntimeError(f"{operator} is unsafe to autocast")


def _is_float(value: object) -> bool:
    return is_on_device(value) and value.dtype in FLOATS


def _called_with(operator, dtype: torch.dtype, args: tuple, kwargs: dict):
    def cast(value):
        return value.to(dtype) if _is_float(value) else value

    kwargs = {key: each(cast, value) for key, value in kwargs.items()}
    with torch._C._ExcludeDispatchKeyGuard(keys("AutocastPrivateUse1")):
        return operator(*each(cast, args), **kwargs)


def _install() -> torch.library.Library:
    kernels = torch.library.Library("aten", "IMPL")
    rules = {in_lower: LOWER, in_float32: FLOAT32, in_widest: WIDEST, refuse: REFUSED}
    for rule, names in rules.items():
        for name in names.split():
            packet, _, overload = name.partition(".")
            operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
            kernels.impl(operator, partial(rule, operator), "AutocastPrivateUse1")
    return kernels


_REGISTERED = _install()  # ends with this object
