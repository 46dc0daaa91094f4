"""Data sets, samplers and transforms of recordings made by event cameras."""

import contextlib
import io

# mmdet prints twice that OneDL is missing, which no user needs to know.
with contextlib.redirect_stdout(io.StringIO()):
    import mmdet.datasets  # noqa: F401

from etram_mmdet.datasets.clip_orders import (
    ClassWeightedOrder,
    ClipOrder,
    RepeatFactorOrder,
    ShuffledOrder,
)
from etram_mmdet.datasets.clips import ClipRequest, Segment
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.raw_event_dataset import RawEventDataset
from etram_mmdet.datasets.samplers import StreamBatchSampler, StreamEvalBatchSampler
from etram_mmdet.datasets.transforms.affine import ClipAffine
from etram_mmdet.datasets.transforms.copy_paste import ClipCopyPaste
from etram_mmdet.datasets.transforms.events import (
    EventDrop,
    EventNoise,
    EventPolarityFlip,
    EventTimeJitter,
)
from etram_mmdet.datasets.transforms.formatting import PackClip
from etram_mmdet.datasets.transforms.frame_transforms import FrameTransforms
from etram_mmdet.datasets.transforms.geometry import ClipFlip, ClipZoom

__all__ = [
    "ClassWeightedOrder",
    "ClipAffine",
    "ClipCopyPaste",
    "ClipFlip",
    "ClipOrder",
    "ClipRequest",
    "ClipZoom",
    "ETraMDataset",
    "EventDrop",
    "EventNoise",
    "EventPolarityFlip",
    "EventTimeJitter",
    "FrameTransforms",
    "PackClip",
    "RawEventDataset",
    "RepeatFactorOrder",
    "Segment",
    "ShuffledOrder",
    "StreamBatchSampler",
    "StreamEvalBatchSampler",
]
