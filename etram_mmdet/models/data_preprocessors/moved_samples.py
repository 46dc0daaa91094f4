"""Copies of a batch's data samples on the device of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures import TrackDataSample
from mmengine.structures import BaseDataElement
from torch import Tensor

from etram_mmdet.utils.transfer import all_to_device

Place = tuple[BaseDataElement, str, Any]  # element, field and what is there, in host memory


def moved(
    samples: Sequence[TrackDataSample], device: torch.device, non_blocking: bool = True
) -> list[TrackDataSample]:
    """Copies of samples whose tensors are on a device, all brought there by one copy.

    It does not use ``TrackDataSample.to``: the setter in there formats a frame as text, which reads
    every number of it and so waits for a GPU some ninety times.

    Args:
        samples: one track per lane.
        device: a GPU or the CPU.
        non_blocking: whether the host goes on during the copy. Default: yes.
    """
    places: list[Place] = []
    copies = [_track(sample, places) for sample in samples]
    found = [value for *_, value in places if isinstance(value, Tensor)]
    tensors = iter(all_to_device(found, device, non_blocking))
    for element, field, value in places:
        is_tensor = isinstance(value, Tensor)
        there = next(tensors) if is_tensor else value.to(device, non_blocking=non_blocking)
        element.set_data({field: there})
    return copies


def _track(sample: TrackDataSample, places: list[Place]) -> TrackDataSample:
    track = TrackDataSample(metainfo=sample.metainfo)
    frames = [_element(frame, places) for frame in sample]
    track.set_field(frames, "_video_data_samples", dtype=list)
    return track


def _element(element: BaseDataElement, places: list[Place]) -> BaseDataElement:
    """A copy whose tensors are still the old ones; ``places`` learns where they are."""
    copy = element.new()
    for field, value in element.items():
        if isinstance(value, BaseDataElement):
            copy.set_data({field: _element(value, places)})
        elif hasattr(value, "to"):  # mmdet's classes of boxes have it, too
            places.append((copy, field, value))
    return copy
