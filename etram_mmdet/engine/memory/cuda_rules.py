"""Makes a network on the CPU choose as it would on a GPU, so that its memory is that of a GPU.

A GPU's autocast computes norms, sums and logarithms in float32, where the CPU's leaves them in
half precision, and some layers look at the device before they split their frames.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from etram_mmdet.utils.private_names import private

# https://docs.pytorch.org/docs/stable/amp.html, CUDA ops that autocast to float32
IN_FLOAT32 = frozenset(
    """
    __pow__ __rdiv__ __rpow__ __rtruediv__ acos asin binary_cross_entropy_with_logits cosh
    cosine_embedding_loss cdist cosine_similarity cross_entropy cumprod cumsum dist erfinv exp expm1
    group_norm hinge_embedding_loss kl_div l1_loss layer_norm log log10 log_softmax log1p log2
    margin_ranking_loss mse_loss multilabel_margin_loss multi_margin_loss nll_loss norm normalize
    pdist poisson_nll_loss pow prod reciprocal rsqrt sinh smooth_l1_loss soft_margin_loss softmax
    softmin softplus sum renorm tan triplet_margin_loss
    """.split()
)
# Same page, CUDA ops that promote to the widest type.
TO_WIDEST = frozenset(
    """
    addcdiv addcmul atan2 bilinear cross dot grid_sample index_put scatter_add tensordot
    """.split()
)
_HALF = (torch.float16, torch.bfloat16)


class CudaRules(TorchFunctionMode):
    """Within its block, CPU tensors say that they are on a GPU, and autocast follows its lists."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__self__", None) is Tensor.is_cuda:
            return True
        kwargs = kwargs or {}
        if function is Tensor.backward:
            return self._backward(*args, **kwargs)
        if torch.is_autocast_enabled("cpu"):
            name = getattr(function, "__name__", "")
            has_wide = any(isinstance(x, Tensor) and x.dtype == torch.float32 for x in args)
            if name in IN_FLOAT32 or (name in TO_WIDEST and has_wide):
                args = tuple(_wide(each) for each in args)
                kwargs = {key: _wide(each) for key, each in kwargs.items()}
        return function(*args, **kwargs)

    def _backward(self, loss: Tensor, *args, **kwargs) -> None:
        """Keep the rules within the backward pass, which computes checkpointed layers again.

        PyTorch suspends a mode inside every function that the mode has seen. Its engine is no such
        function, and goes on with the modes of its caller.
        """
        run = private("torch.autograd.graph._engine_run_backward")
        if run is None:
            loss.backward(*args, **kwargs)
            return
        ones = torch.ones_like(loss)
        with self:
            run((loss,), (ones,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _wide(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value
