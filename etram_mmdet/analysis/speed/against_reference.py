"""Times and memory of our model against RVT's: same weights, same input, alternating runs."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from torch import Tensor, nn

from etram_mmdet.analysis.speed.reference import Reference, targets_of
from etram_mmdet.analysis.speed.timing import compared, take_turns
from etram_mmdet.engine.runner.memory import saved_bytes_of
from etram_mmdet.evaluation.coco import coco_metrics
from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import random_clips


@torch.no_grad()
def streaming(streamer: Streamer, reference: Reference, hw: tuple[int, int], windows: int) -> dict:
    """Times streaming: one window at a time with its state, from bytes to maps or boxes, no NMS.

    On a GPU RVT's model runs under autocast in our precision, as its own trainer does there. On a
    CPU it runs in float32.

    Args:
        streamer: our model.
        reference: RVT's model with the same weights.
        hw: height and width of a frame, in pixels.
        windows: number of timed windows.

    Returns:
        The numbers of :func:`compared`, and ``difference``: the largest difference of a class score
        in the last window.
    """
    reference.model.eval()
    device = streamer.device
    detector = streamer.detector
    data = random_clips(detector, 1, 1, hw, label_every=1)
    results = {}
    states = {"ours": None, "reference": None}

    def ours() -> None:
        frames = data["inputs"][0].to(device)
        results["ours"], states["ours"] = streamer.network(streamer.pad(frames), states["ours"])

    is_mixed = device.type == "cuda" and streamer.dtype != torch.float32

    def theirs() -> None:
        with torch.autocast(device.type, streamer.dtype, enabled=is_mixed):
            frame = _padded(detector, data)[0]
            results["reference"], states["reference"] = reference.stream(frame, states["reference"])

    seconds = take_turns(dict(reference=theirs, ours=ours), windows, warm_up=3, device=device.type)
    scores = (
        torch.cat([level.flatten(2) for level in results["ours"][0]], 2)
        .transpose(1, 2)
        .float()
        .sigmoid()
    )
    difference = float((scores - results["reference"][..., 5:]).abs().max())
    return compared(seconds) | dict(difference=difference)


def training(
    cfg: Config,
    model: nn.Module,
    reference: Reference,
    hw: tuple[int, int],
    batch: int,
    clip: int,
    steps: int,
) -> dict:
    """Times whole training steps.

    A step goes from bytes to floats, then forward pass, losses, backward pass, clipping by value
    and AdamW. Both models train in mixed precision if the config does so on this device.

    Args:
        cfg: a complete config, from which our optimizer is built.
        model: our model.
        reference: RVT's model with the same weights.
        hw: height and width of a frame, in pixels.
        batch: clips in a batch.
        clip: frames in a clip.
        steps: number of timed steps.

    Returns:
        The numbers of :func:`compared`.
    """
    model.train(), reference.model.train()
    device = next(model.parameters()).device.type
    data = random_clips(model, batch, clip, hw)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    optimizer = torch.optim.AdamW(reference.model.parameters(), lr=1e-4, weight_decay=0)
    is_mixed = isinstance(wrapper, AmpOptimWrapper)
    scaler = torch.amp.GradScaler(device, enabled=is_mixed)
    loss = _reference_loss(model, reference, data)

    def ours() -> None:
        model.stream_states["loss"].reset()
        model.train_step(data, wrapper)

    def theirs() -> None:
        with torch.autocast(device, torch.float16, enabled=is_mixed):
            value = loss()
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_value_(reference.model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return compared(take_turns(dict(reference=theirs, ours=ours), steps, device=device))


def memory(
    model: nn.Module, reference: Reference, hw: tuple[int, int], batch: int, clip: int
) -> dict[str, int]:
    """Counts the bytes that each forward pass keeps for its backward pass, without weights.

    Args:
        model: our model.
        reference: RVT's model with the same weights.
        hw: height and width of a frame, in pixels.
        batch: clips in a batch.
        clip: frames in a clip.
    """
    model.train(), reference.model.train()
    data = random_clips(model, batch, clip, hw)
    model.stream_states["loss"].reset()
    return dict(
        reference_bytes=saved_bytes_of(reference.model, _reference_loss(model, reference, data)),
        ours_bytes=saved_bytes_of(
            model, lambda: model(**model.data_preprocessor(data, True), mode="loss")
        ),
    )


def _padded(model: nn.Module, data: dict) -> Tensor:
    """Turns bytes into padded floats (T, B, C, H, W) with RVT's operations."""
    frames = torch.stack(data["inputs"], dim=1).to(next(model.parameters()).device).float()
    h, w = frames.shape[-2:]
    dh, dw = model.backbone.size_divisor
    return F.pad(frames, (0, -w % dw, 0, -h % dh))


def _reference_loss(model: nn.Module, reference: Reference, data: dict) -> Callable[[], Tensor]:
    batch = model.data_preprocessor(data, True)
    targets = targets_of(batch["data_samples"], batch["is_labelled"])
    return lambda: reference.loss(_padded(model, data), batch["is_labelled"], targets)


def evaluation(frames: int, detections: int, rounds: int, boxes: int = 6) -> dict:
    """Times COCO's metrics of three classes on random frames of twenty recordings.

    RVT's evaluation is imported, so a :class:`Reference` must exist before.

    Args:
        frames: number of frames.
        detections: detections in each frame.
        rounds: number of timed evaluations.
        boxes: true boxes in each frame. Default: 6.

    Returns:
        The numbers of :func:`compared`, and ``difference``: that of the two APs. ``whole`` holds
        the numbers of :func:`compared` for a whole validation of ours, with breakdown and
        confidence interval, against the same evaluation of RVT.
    """
    from utils.evaluation.prophesee.evaluation import evaluate_list
    from utils.evaluation.prophesee.io.box_loading import BBOX_DTYPE

    data = _random_frames(frames, detections, boxes)
    truth = [_structured(BBOX_DTYPE, frame.t_us, frame.truth) for frame in data]
    found = [_structured(BBOX_DTYPE, frame.t_us, frame.found) for frame in data]
    results = {}
    metric = EventCocoMetric()
    metric.dataset_meta = dict(classes=("a", "b", "c"))

    def ours() -> None:
        results["ours"] = coco_metrics(data, metric.dataset_meta["classes"])["AP"]

    def theirs() -> None:
        size = dict(height=360, width=640, camera="gen4")
        results["reference"] = evaluate_list(found, truth, **size, apply_bbox_filters=False)["AP"]

    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # so that the metric prints no tables
    try:
        seconds = take_turns(
            dict(reference=theirs, ours=ours, whole=lambda: metric.compute_metrics(data)), rounds
        )
    finally:
        logging.disable(before)
    whole = compared(dict(reference=seconds["reference"], ours=seconds["whole"]))
    return compared(seconds) | dict(
        difference=abs(results["ours"] - results["reference"]), whole=whole
    )


def _random_frames(frames: int, detections: int, boxes: int) -> list[FrameResult]:
    """Returns frames with random true boxes, and detections scattered around them."""
    rng = np.random.default_rng(0)
    made = []
    for t in range(frames):
        corner = rng.uniform(0, 300, (boxes, 2))
        size = rng.uniform(5, 60, (boxes, 2))
        truth = np.concatenate([corner, corner + size], 1).astype(np.float32)
        labels = rng.integers(0, 3, boxes)
        near = rng.integers(0, boxes, detections)
        found = truth[near] + rng.normal(0, 3, (detections, 4)).astype(np.float32)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        found = np.round(found * 8) / 8  # exact in every float format that is used
        scores = rng.permutation(frames * detections)[:detections].astype(np.float32) / (
            frames * detections
        )
        made.append(
            FrameResult(
                recording=f"benchmark_{20 * t // frames:02}",
                t_us=t + 1,
                truth=Boxes(np.round(truth * 8) / 8, labels),
                found=Boxes(found, labels[near], scores),
            )
        )
    return made


def _structured(dtype: np.dtype, t_us: int, boxes: Boxes) -> np.ndarray:
    """Returns boxes in the form of Prophesee's label files."""
    x1, y1, x2, y2 = boxes.bboxes_xyxy.T
    rows = np.zeros(len(boxes), dtype)
    rows["t"] = t_us
    rows["x"] = x1
    rows["y"] = y1
    rows["w"] = x2 - x1
    rows["h"] = y2 - y1
    rows["class_id"] = boxes.labels
    rows["class_confidence"] = 1 if boxes.scores is None else boxes.scores
    return rows
