"""Random clips for plugin authors, benchmarks and tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.structures import InstanceData
from torch import nn

from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.models.building import fit_to_data

# Share of a frame's cells that hold a count. Speed does not depend on it; the time of
# post-processing depends on the weights of the model.
EVENT_SHARE = 0.05
BOXES_PER_FRAME = 8


def random_clips(
    model: nn.Module,
    batch: int,
    clip_length: int,
    hw: tuple[int, int],
    label_every: int = 2,
    seed: int = 0,
) -> dict:
    """Returns a random batch as the data loader does: sparse event counts, boxes on some frames.

    Args:
        model: detector; the batch has the input channels of its backbone and the classes of its
            head.
        batch: number of clips.
        clip_length: frames in a clip.
        hw: height and width of a frame, in pixels.
        label_every: every frame whose number this divides is labelled. Default: 2.
        seed: seed of the random numbers; the same seed gives the same batch. Default: 0.

    Returns:
        ``inputs``: ``batch`` uint8 tensors (T, C, H, W), and ``data_samples``: as many
        ``TrackDataSample``.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (clip_length, input_channels(model), *hw)
    lanes = [(torch.rand(shape, generator=generator) < EVENT_SHARE).byte() for _ in range(batch)]
    classes = model.bbox_head.num_classes
    samples = random_samples(classes, batch, clip_length, hw, label_every, generator)
    return dict(inputs=lanes, data_samples=samples)


def input_channels(model: nn.Module) -> int:
    """Returns the channels of the frames that a detector takes.

    Args:
        model: a detector whose backbone begins with a convolution.
    """
    return next(p for p in model.backbone.parameters() if p.dim() == 4).shape[1]


def random_samples(
    num_classes: int,
    batch: int,
    clip_length: int,
    hw: tuple[int, int],
    label_every: int,
    generator: torch.Generator,
) -> list[TrackDataSample]:
    """Returns the boxes of random clips, one track per clip.

    Args:
        num_classes: number of classes.
        batch: number of clips.
        clip_length: frames in a clip.
        hw: height and width of a frame, in pixels.
        label_every: every frame whose number this divides is labelled.
        generator: source of the random numbers.
    """
    return [
        _track(lane, clip_length, hw, label_every, num_classes, generator) for lane in range(batch)
    ]


def _track(
    lane: int,
    clip_length: int,
    hw: tuple[int, int],
    label_every: int,
    num_classes: int,
    generator: torch.Generator,
) -> TrackDataSample:
    track = TrackDataSample(metainfo=dict(lane=lane, streamed=True))
    frames = []
    for t in range(clip_length):
        meta = dict(recording="benchmark", t_us=t, img_shape=hw, is_first=t == 0, is_padding=False)
        frame = DetDataSample(metainfo=meta | dict(is_labelled=t % label_every == 0))
        corner = (
            torch.rand(BOXES_PER_FRAME, 2, generator=generator) * torch.tensor([hw[1], hw[0]]) * 0.8
        )
        size = 4 + torch.rand(BOXES_PER_FRAME, 2, generator=generator) * min(hw) * 0.2
        labels = torch.randint(num_classes, (BOXES_PER_FRAME,), generator=generator)
        frame.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + size], 1), labels=labels
        )
        frames.append(frame)
    track.video_data_samples = frames
    return track


def fit_to_random_boxes(model: nn.Module, classes: tuple[str, ...]) -> nn.Module:
    """Gives a detector statistics of made-up training boxes, and returns it.

    Training takes them from its data; without any, some heads and losses refuse to run.

    Args:
        model: a detector; it is changed.
        classes: names of its classes.
    """
    labels = np.repeat(np.arange(len(classes)), BOXES_PER_FRAME * (1 + np.arange(len(classes))))
    sizes_px = np.random.default_rng(0).uniform(4, 80, (len(labels), 2))
    boxes = SimpleNamespace(box_statistics=lambda: BoxStatistics(classes, labels, sizes_px))
    fit_to_data(model, boxes)
    return model
