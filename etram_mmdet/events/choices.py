"""The words that settings of recordings and frames take, and the reference's defaults.

They stand apart from the code that acts on them, which loads numba and h5py: a command line needs only
the words.
"""

from __future__ import annotations

from typing import Literal

SPLITS = ("train", "val", "test")

Preset = Literal["etram", "gen4"]
FrameRule = Literal["auto", "rvt", "all"]
LabelFiles = Literal["auto", "beside", "eight_class"]
Codec = Literal["zstd", "lz4"]
Downsample = Literal["none", "nearest", "sum"]
Edges = Literal["events", "window"]
TimeUnit = Literal["us", "ms", "ns"]
LabelTimeUnit = Literal["us", "ms", "ns", "s"]
BoxFormat = Literal["xywh", "cxcywh", "xyxy"]

LabelUnit = Literal["frames", "s", "ms", "us", "ns"]  # what the times of a label file count

FROM_START = "start"  # a label offset: labels count from the recording's start

# The classes in events/representations, as help lists them; a test compares.
REPRESENTATION_NAMES = (
    "MixedDensityEventStack",
    "StackedHistogram",
    "TernaryVolume",
    "TimeSurface",
)
# The formats in events/label_formats; a test compares.
LABEL_FORMAT_NAMES = ("prophesee", "coco", "cvat", "csv", "mot", "yolo")
RVT_REPRESENTATION = {"type": "StackedHistogram", "downsample": "nearest"}
