"""Run a detector on streams window by window, as fast as the device allows."""

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

from etram_mmdet.models.cuda_graphs import GraphedNetwork
from etram_mmdet.models.layers.checkpointing import NORMS
from etram_mmdet.utils.cli.detection import PRECISIONS
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.private_names import private

_COMPILE_ERRORS = tuple(
    error
    for name in ("TorchDynamoException", "FailOnRecompileLimitHit")
    if (error := private(f"torch._dynamo.exc.{name}")) is not None
)


class Streamer:
    """Runs a :class:`RecurrentDetector` on the next frame of each of B streams.

    The caller keeps the state between the frames. With the default arguments the detector itself is
    used and put into evaluation mode, and its numbers equal those of an evaluation to the last
    digit. With any other argument a copy of the detector is used, which later changes of the
    detector do not reach.

    Args:
        detector: a trained detector.
        precision: number format of weights and maps, one of `PRECISIONS`. Formats below float32 are
            always fused; the LSTM's cells, scores and boxes stay in float32. Default: float32.
        fuse: whether norms are folded into the convolutions before them and biases into the linear
            layers, see :func:`fused`. Rounding differs then. Default: no.
        compiled: whether ``torch.compile`` compiles the network. It takes half a minute at the
            second window of every frame size and batch size. On a GPU its CUDA graphs replay a step
            with one launch; on a CPU weights are laid out once for the processor. Default: no.
        cuda_graphs: whether a GPU launches the network as one CUDA graph without compiling it. The
            second window of every frame size and batch size takes longer. Default: no.

    Raises:
        InputError: the precision is unknown or the GPU lacks it; ``cuda_graphs`` without a GPU, or
            together with ``compiled``. At the second window: nothing can be compiled here, or too
            much was compiled in this process.
    """

    def __init__(
        self,
        detector: SingleStageDetector,
        precision: str = "float32",
        fuse: bool = False,
        compiled: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"Streamer: precision={precision!r}, expected {', '.join(PRECISIONS)}")
        self.dtype = getattr(torch, precision)
        self.device = next(detector.parameters()).device
        if cuda_graphs:
            _check_graphs(self.device, compiled)
        if self.device.type == "cuda" and precision == "bfloat16":
            with torch.cuda.device(self.device):
                if not torch.cuda.is_bf16_supported(including_emulation=False):
                    raise InputError(
                        f"{torch.cuda.get_device_name()} has no bfloat16; use float16 or float32"
                    )
        is_plain = precision == "float32" and not fuse and not compiled
        self.detector = (
            detector.eval() if is_plain else fused(detector, self.dtype, linear=not compiled)
        )
        # A head that does more than turn its maps into boxes runs its own `predict`.
        self._has_maps = getattr(self.detector.bbox_head, "predicts_from_maps", True)
        self._fast_network = self._compile() if compiled else None
        if cuda_graphs:
            self._fast_network = GraphedNetwork(self._network)

    @torch.no_grad()
    def __call__(self, frames: Tensor, states: tuple | None) -> tuple[list[InstanceData], tuple]:
        """Detect boxes in the next frame of each stream.

        Args:
            frames: (B, C, H, W) bytes, on the device of the detector.
            states: the states that the call before returned; None at the start of the streams.

        Returns:
            The boxes of each frame, in its pixels, and the states after these frames.
        """
        maps, states = self.network(self.pad(frames), states)
        return self.boxes(maps, tuple(frames.shape[-2:])), states

    @torch.no_grad()
    def network(self, padded: Tensor, states: tuple | None) -> tuple[tuple, tuple]:
        """Maps of the head, which the next step may overwrite, and the states after the frames."""
        # compiled for calls with states only, so that one form is compiled, not two
        if self._fast_network is None or states is None:
            return self._network(padded, states)
        return self._fast_network(padded, states)

    @property
    def is_one_part(self) -> bool:
        """Whether backbone, neck and head are one program."""
        return self._fast_network is not None

    def _network(self, padded: Tensor, states: tuple | None) -> tuple[tuple, tuple]:
        features, states = self.backbone(padded, states)
        return self.maps(features), states

    def pad(self, frames: Tensor) -> Tensor:
        """Padded frames (1, B, C, H', W') in the precision of the network."""
        return self.detector.data_preprocessor.pad(frames[None], self.dtype)

    def backbone(self, padded: Tensor, states: tuple | None) -> tuple[tuple[Tensor, ...], tuple]:
        """Features (B, C_i, H_i, W_i) of the backbone, and the states."""
        return self.detector.clip_features(padded, None, states)

    def maps(self, features: tuple[Tensor, ...]) -> tuple:
        """Input of :meth:`boxes`: maps of the head, or of the neck (see ``predicts_from_maps``)."""
        features = self.detector.neck(features) if self.detector.with_neck else features
        return self.detector.bbox_head(features) if self._has_maps else features

    def boxes(self, maps: tuple, hw: tuple[int, int]) -> list[InstanceData]:
        """Boxes with scores and labels, as evaluation gets them, in frames of ``hw`` pixels.

        ``hw`` is (height, width). Boxes may reach beyond the frame.
        """
        head = self.detector.bbox_head
        meta = dict(img_shape=hw)
        if self._has_maps:
            # mmdet's heads would decode boxes in the precision of the maps
            maps = each_map(Tensor.float, maps)
            return head.predict_by_feat(
                *maps, batch_img_metas=[meta] * len(maps[0][0]), rescale=False
            )
        return head.predict(maps, [DetDataSample(metainfo=meta)] * len(maps[0]), rescale=False)

    def _compile(self) -> Callable:
        is_cuda = self.device.type == "cuda"
        compiled = torch.compile(
            self._network, dynamic=False, mode="reduce-overhead" if is_cuda else None
        )

        def or_sentence(padded: Tensor, states: tuple) -> tuple[tuple, tuple]:
            try:
                with (
                    _setting(
                        "torch._inductor.config", freezing=not is_cuda
                    ),  # lays weights out once; no option of a call
                    # without it a network that cannot be compiled again runs slowly, without an
                    # error
                    _setting("torch._dynamo.config", fail_on_recompile_limit_hit=True),
                ):
                    maps, states = compiled(padded, states)
            except _COMPILE_ERRORS as error:
                cause = getattr(error, "inner_exception", error)
                reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
                raise InputError(
                    f"torch.compile fails here ({reason}); it needs a C++ compiler on a CPU and "
                    "Triton on a GPU, and compiles only a few models and sizes per process; run "
                    "without compiling (compiled=False), or install the compiler"
                ) from error
            if is_cuda:  # CUDA graphs write to the same place at each replay
                states = tuple(tuple(rows.clone() for rows in state) for state in states)
            return maps, states

        return or_sentence


def _check_graphs(device: torch.device, compiled: bool) -> None:
    if device.type != "cuda":
        raise InputError(
            f"CUDA graphs need a GPU, and the model is on {device}; leave out cuda_graphs "
            "(--cuda-graphs), or compile the network (--compile)"
        )
    if compiled:
        raise InputError(
            "a network compiled for a GPU has CUDA graphs already; leave out cuda_graphs "
            "(--cuda-graphs) or compiled (--compile)"
        )


def fused(model: nn.Module, dtype: torch.dtype = torch.float32, linear: bool = True) -> nn.Module:
    """A copy of a model in evaluation mode with BatchNorm folded into the convolutions before it.

    mmdet's ``--fuse-conv-bn`` does the same.

    Args:
        model: a detector, which is not changed.
        dtype: number format of the copy's weights. Buffers, which may count classes, keep theirs.
            Default: float32.
        linear: whether the backbone's linear layers, on a CPU with oneDNN, add their bias and apply
            the GELU that follows while the product is still in the cache. PyTorch's own layers go
            over the result once for either. Default: yes.
    """
    model = fuse_conv_bn(copy.deepcopy(model).eval()).requires_grad_(False)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    # norms that follow no convolution are not folded
    for norm in (m for m in model.modules() if isinstance(m, NORMS)):
        norm.to(dtype)
    if linear and next(model.parameters()).device.type == "cpu" and _onednn_multiplies(dtype):
        _fuse_linear_layers(model.backbone)
    return model


def each_map(
    function: Callable[[Tensor], Tensor], maps: Tensor | tuple | list
) -> Tensor | tuple | list:
    """Apply a function to every map of a head and keep how the maps are nested.

    Args:
        function: takes one map and returns one.
        maps: a tensor, or tuples and lists of tensors.
    """
    return (
        function(maps)
        if isinstance(maps, Tensor)
        else type(maps)(each_map(function, each) for each in maps)
    )


def _setting(config: str, **values: bool) -> AbstractContextManager:
    """Change settings of torch.compile within a block, if this PyTorch has such settings."""
    found = private(config)
    return nullcontext() if found is None else found.patch(**values)


def _onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this format on this processor."""
    if (
        not torch.backends.mkldnn.is_available()
        or private("torch.ops.mkldnn._linear_pointwise") is None
    ):
        return False
    asked = {
        torch.bfloat16: "torch.ops.mkldnn._is_mkldnn_bf16_supported",
        torch.float16: "torch.ops.mkldnn._is_mkldnn_fp16_supported",
    }
    is_supported = private(asked[dtype]) if dtype in asked else lambda: True
    return is_supported is not None and bool(is_supported())


class OneDNNLinear(nn.Module):
    """Linear layer by oneDNN, for inference only; the operator is the one that torch.compile uses.

    Args:
        linear: the layer whose weight and bias it shares.
        gelu: whether GELU is applied to the result. Default: no.
    """

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        # "none": exact, not by tanh
        activation, algorithm = ("gelu", "none") if self.gelu else ("none", None)
        return torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, activation, [], algorithm
        )


def _fuse_linear_layers(module: nn.Module) -> None:
    children = list(module.named_children())
    for (name, child), (after, follower) in zip(
        children, [*children[1:], ("", None)], strict=False
    ):
        if isinstance(child, nn.Linear):
            gelu = isinstance(follower, nn.GELU) and isinstance(module, nn.Sequential)
            setattr(module, name, OneDNNLinear(child, gelu))
            if gelu:
                setattr(module, after, nn.Identity())
        else:
            _fuse_linear_layers(child)
