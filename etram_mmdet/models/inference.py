"""A detector that follows streams window by window, as fast as the device lets it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.detectors import SingleStageDetector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from etram_mmdet.models.layers.checkpointing import NORMS
from etram_mmdet.utils.cli import PRECISIONS
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.private_names import private

_COMPILE_ERRORS = tuple(
    error
    for name in ("TorchDynamoException", "FailOnRecompileLimitHit")
    if (error := private(f"torch._dynamo.exc.{name}")) is not None
)


class Streamer:
    """Steps of a :class:`RecurrentDetector` over the next frame of each of B streams; state in, state out.

    As it stands it gives evaluation's numbers to the last digit, of the detector itself, which it puts into evaluation
    mode; with any of the following, of a copy of it as it is now. ``fuse`` folds norms and biases (rounding differs).
    ``precision``: of weights and maps, one of `PRECISIONS`; the lower ones are always fused, and cells of the LSTM,
    scores and boxes stay in float32. ``compiled``: by ``torch.compile``, half a minute at the second window of every
    frame and batch size; on a GPU its CUDA graphs replay a step with one launch, on a CPU weights are laid out once for
    the processor.

    Raises:
        InputError: for a precision that is unknown or that the GPU lacks, and at the second window where nothing can be
            compiled here, or too much was in this process.
    """

    def __init__(
        self, detector: SingleStageDetector, precision: str = "float32", fuse: bool = False, compiled: bool = False
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"Streamer: precision={precision!r}, expected {', '.join(PRECISIONS)}")
        self.dtype = getattr(torch, precision)
        self.device = next(detector.parameters()).device
        if self.device.type == "cuda" and precision == "bfloat16":
            with torch.cuda.device(self.device):
                if not torch.cuda.is_bf16_supported(including_emulation=False):
                    raise InputError(f"{torch.cuda.get_device_name()} has no bfloat16; take float16 or float32")
        is_plain = precision == "float32" and not fuse and not compiled
        self.detector = detector.eval() if is_plain else fused(detector, self.dtype, linear=not compiled)
        # A head that does more than turn its maps into boxes is left to itself.
        self._has_maps = getattr(self.detector.bbox_head, "predicts_from_maps", True)
        self._compiled_network = self._compile() if compiled else None

    @torch.no_grad()
    def __call__(self, frames: Tensor, states: tuple | None) -> tuple[list[InstanceData], tuple]:
        """Boxes in the next frames, bytes (B, C, H, W) on the device, in their pixels, and the states after them.

        ``states`` of the step before, ``None`` where the streams begin.
        """
        maps, states = self.network(self.pad(frames), states)
        return self.boxes(maps, tuple(frames.shape[-2:])), states

    @torch.no_grad()
    def network(self, padded: Tensor, states: tuple | None) -> tuple[tuple, tuple]:
        """The head's maps, to be read before the next step, and the states."""
        if self._compiled_network is None or states is None:  # with states only, so that one form is compiled, not two
            features, states = self.backbone(padded, states)
            return self.maps(features), states
        maps, states = self._compiled_network(padded, states)
        if self.device.type == "cuda":  # CUDA graphs write to the same place at each replay
            states = tuple(tuple(rows.clone() for rows in state) for state in states)
        return maps, states

    @property
    def is_compiled(self) -> bool:
        return self._compiled_network is not None

    def pad(self, frames: Tensor) -> Tensor:
        """(1, B, C, H', W') of the network's precision."""
        return self.detector.data_preprocessor.pad(frames[None], self.dtype)

    def backbone(self, padded: Tensor, states: tuple | None) -> tuple[tuple[Tensor, ...], tuple]:
        """Features (B, C_i, H_i, W_i), and the states."""
        return self.detector.clip_features(padded, None, states)

    def maps(self, features: tuple[Tensor, ...]) -> tuple:
        """What :meth:`boxes` takes: the head's maps, or the neck's for a head that has a ``predict`` of its own."""
        features = self.detector.neck(features) if self.detector.with_neck else features
        return self.detector.bbox_head(features) if self._has_maps else features

    def boxes(self, maps: tuple, hw: tuple[int, int]) -> list[InstanceData]:
        """Boxes with scores and labels, which may reach beyond frames of (H, W), as evaluation gets them."""
        head = self.detector.bbox_head
        meta = dict(img_shape=hw)
        if self._has_maps:
            maps = each_map(Tensor.float, maps)  # mmdet's heads would decode boxes in the precision of the maps
            return head.predict_by_feat(*maps, batch_img_metas=[meta] * len(maps[0][0]), rescale=False)
        return head.predict(maps, [DetDataSample(metainfo=meta)] * len(maps[0]), rescale=False)

    def _compile(self) -> Callable:
        def network(padded: Tensor, states: tuple) -> tuple[tuple, tuple]:
            features, states = self.backbone(padded, states)
            return self.maps(features), states

        is_cuda = self.device.type == "cuda"
        compiled = torch.compile(network, dynamic=False, mode="reduce-overhead" if is_cuda else None)

        def or_sentence(padded: Tensor, states: tuple) -> tuple[tuple, tuple]:
            try:
                with (
                    _setting(
                        "torch._inductor.config", freezing=not is_cuda
                    ),  # lays weights out once; no option of a call
                    _setting("torch._dynamo.config", fail_on_recompile_limit_hit=True),  # else slow without a word
                ):
                    return compiled(padded, states)
            except _COMPILE_ERRORS as error:
                cause = getattr(error, "inner_exception", error)
                reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
                raise InputError(
                    f"torch.compile fails here ({reason}); it needs a C++ compiler on a CPU and Triton on a GPU, and "
                    "compiles a few models and sizes per process; run without compiling, or see to that"
                ) from error

        return or_sentence


def fused(model: nn.Module, dtype: torch.dtype = torch.float32, linear: bool = True) -> nn.Module:
    """A copy in evaluation mode with BatchNorm folded into the convolutions before it, as mmdet's ``--fuse-conv-bn``.

    Its weights are of ``dtype``; buffers, which may count classes, keep theirs. On a CPU with oneDNN, where ``linear``,
    the backbone's linear layers also add their bias, and apply the GELU that follows, while the product is still in the
    cache; PyTorch's own go over the result for either.
    """
    model = fuse_conv_bn(copy.deepcopy(model).eval()).requires_grad_(False)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    for norm in (m for m in model.modules() if isinstance(m, NORMS)):  # one that follows no convolution
        norm.to(dtype)
    if linear and next(model.parameters()).device.type == "cpu" and _onednn_multiplies(dtype):
        _fuse_linear_layers(model.backbone)
    return model


def each_map(function: Callable[[Tensor], Tensor], maps: Tensor | tuple | list) -> Tensor | tuple | list:
    """A head's maps, nested as they are, each after ``function``."""
    return function(maps) if isinstance(maps, Tensor) else type(maps)(each_map(function, each) for each in maps)


def _setting(config: str, **values: bool) -> AbstractContextManager:
    """Settings of torch.compile while it runs; nothing where this version of PyTorch has none of that name."""
    found = private(config)
    return nullcontext() if found is None else found.patch(**values)


def _onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether this processor has what oneDNN needs; PyTorch's own layers work everywhere."""
    if not torch.backends.mkldnn.is_available() or private("torch.ops.mkldnn._linear_pointwise") is None:
        return False
    asked = {
        torch.bfloat16: "torch.ops.mkldnn._is_mkldnn_bf16_supported",
        torch.float16: "torch.ops.mkldnn._is_mkldnn_fp16_supported",
    }
    is_supported = private(asked[dtype]) if dtype in asked else lambda: True
    return is_supported is not None and bool(is_supported())


class OneDNNLinear(nn.Module):
    """Linear layer, with GELU where ``gelu``; inference only. The operator is torch.compile's own."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        activation, algorithm = ("gelu", "none") if self.gelu else ("none", None)  # "none": exact, not by tanh
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], algorithm)


def _fuse_linear_layers(module: nn.Module) -> None:
    children = list(module.named_children())
    for (name, child), (after, follower) in zip(children, [*children[1:], ("", None)], strict=False):
        if isinstance(child, nn.Linear):
            gelu = isinstance(follower, nn.GELU) and isinstance(module, nn.Sequential)
            setattr(module, name, OneDNNLinear(child, gelu))
            if gelu:
                setattr(module, after, nn.Identity())
        else:
            _fuse_linear_layers(child)
