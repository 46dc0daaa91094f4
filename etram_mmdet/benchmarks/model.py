"""How fast a config's model runs and trains, and what it keeps in memory for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from etram_mmdet.benchmarks.clock import Clock
from etram_mmdet.engine.resolve import resolve
from etram_mmdet.models.streamer import Streamer

EVENT_SHARE = 0.05  # of a frame's cells that hold a count; speed does not depend on it, post-processing on weights does
BOXES_PER_FRAME = 8
BYTES_PER_PARAMETER = 16  # weight, gradient and AdamW's two moments in float32


def build_model(cfg: Config, device: torch.device) -> nn.Module:
    """The config's detector on ``device``; completes ``cfg`` as training would."""
    resolve(cfg, device.type)
    return MODELS.build(cfg.model).to(device)


def random_clips(
    model: nn.Module, batch: int, clip_length: int, hw: tuple[int, int], label_every: int = 2, seed: int = 0
) -> dict:
    """A batch as the loader hands it on: sparse counts, boxes on every ``label_every``-th frame."""
    generator = torch.Generator().manual_seed(seed)
    channels = next(p for p in model.backbone.parameters() if p.dim() == 4).shape[1]
    shape = (clip_length, channels, *hw)
    lanes = [(torch.rand(shape, generator=generator) < EVENT_SHARE).byte() for _ in range(batch)]
    samples = [
        _track(lane, clip_length, hw, label_every, model.bbox_head.num_classes, generator) for lane in range(batch)
    ]
    return dict(inputs=lanes, data_samples=samples)


def _track(
    lane: int, clip_length: int, hw: tuple[int, int], label_every: int, num_classes: int, generator: torch.Generator
) -> TrackDataSample:
    track = TrackDataSample()
    frames = []
    for t in range(clip_length):
        meta = dict(recording="benchmark", t_us=t, lane=lane, img_shape=hw, is_first=t == 0, is_padding=False)
        frame = DetDataSample(metainfo=meta | dict(is_labelled=t % label_every == 0))
        corner = torch.rand(BOXES_PER_FRAME, 2, generator=generator) * torch.tensor([hw[1], hw[0]]) * 0.8
        size = 4 + torch.rand(BOXES_PER_FRAME, 2, generator=generator) * min(hw) * 0.2
        labels = torch.randint(num_classes, (BOXES_PER_FRAME,), generator=generator)
        frame.gt_instances = InstanceData(bboxes=torch.cat([corner, corner + size], 1), labels=labels)
        frames.append(frame)
    track.video_data_samples = frames
    return track


@torch.no_grad()
def time_streaming(streamer: Streamer, hw: tuple[int, int], windows: int, warm_up: int) -> Clock:
    """One stream, one window at a time, state carried. What is compiled is one part, else backbone and head are two."""
    clock, states = Clock(streamer.device), None
    for index in range(-warm_up, windows):
        (clip,) = random_clips(streamer.detector, 1, 1, hw, label_every=1, seed=index % 7)["inputs"]
        if index == 0:
            clock.seconds.clear()
        with clock.part("data"):
            frames = clip.to(streamer.device)
        if streamer.is_compiled:
            with clock.part("network"):
                maps, states = streamer.network(streamer.pad(frames), states)
        else:
            with clock.part("backbone"):
                features, states = streamer.backbone(streamer.pad(frames), states)
            with clock.part("neck + head"):
                maps = streamer.maps(features)
        with clock.part("post-processing"):
            streamer.boxes(maps, hw)
    clock.seconds["window"] = [sum(parts) for parts in zip(*clock.seconds.values(), strict=True)]
    return clock


def time_training(cfg: Config, model: nn.Module, data: dict, steps: int, warm_up: int) -> Clock:
    """Whole steps: data to the device, forward, losses, backward, clipping, optimizer."""
    model.train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    clock = Clock(next(model.parameters()).device)
    for index in range(-warm_up, steps):
        if index == 0:
            clock.seconds.clear()
        with clock.part("step"):
            model.train_step(data, wrapper)
    return clock


def saved_bytes(model: nn.Module, data: dict) -> int:
    """Bytes of distinct memory that one training step's forward pass keeps for its backward pass, weights excluded.

    Counted with hooks on every saved tensor, so it is exact for autograd on any device and leaves out what the
    allocator wastes, gradients and the optimizer.
    """
    model.train()
    return saved_bytes_of(model, lambda: model(**model.data_preprocessor(data, True), mode="loss"))


def saved_bytes_of(model: nn.Module, forward: Callable[[], object]) -> int:
    """See :func:`saved_bytes`; for any forward pass with ``model``."""
    weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes(), tensor.detach()  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    total = sum(size for size, _ in kept.values())
    del result
    return total


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def macs_per_window(model: nn.Module, hw: tuple[int, int]) -> int:
    """Multiply-accumulates of products and convolutions (attention included) of one window."""
    (clip,) = random_clips(model, 1, 1, hw, label_every=1)["inputs"]
    streamer = Streamer(model)
    with _plain_attention(), FlopCounterMode(display=False) as counter:
        streamer.network(streamer.pad(clip.to(streamer.device)), None)
    return counter.get_total_flops() // 2


@contextmanager
def _plain_attention() -> Iterator[None]:
    """The counter does not know the CPU's fused attention."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield
