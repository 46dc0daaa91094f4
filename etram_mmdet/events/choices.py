"""Values that the settings of recordings and frames may take, and the defaults of RVT.

This module loads neither numba nor h5py, so a command line can list the values quickly.
"""

from __future__ import annotations

from typing import Literal

SPLITS = ("train", "val", "test")

Preset = Literal["etram", "gen4", "gen1"]
FrameRule = Literal["auto", "rvt", "all"]
LabelFiles = Literal["auto", "beside", "eight_class"]
Codec = Literal["zstd", "lz4"]
Edges = Literal["events", "window"]
TimeUnit = Literal["us", "ms", "ns"]
LabelTimeUnit = Literal["us", "ms", "ns", "s"]
BoxFormat = Literal["xywh", "cxcywh", "xyxy"]

LabelUnit = Literal["frames", "s", "ms", "us", "ns"]  # what the times of a label file count

FROM_START = "start"  # a label offset: labels count from the recording's start

DOWNSAMPLE_WORDS = ("none", "nearest", "sum")  # the last two with a factor, as in sum8; without it 2

# The classes in events/representations, as help lists them; a test compares.
REPRESENTATION_NAMES = (
    "MixedDensityEventStack",
    "StackedHistogram",
    "TernaryVolume",
    "TimeSurface",
)
# The formats in events/label_formats; a test compares.
LABEL_FORMAT_NAMES = ("prophesee", "coco", "cvat", "csv", "mot", "yolo")
MIN_SIDE_PX = 5  # boxes with a shorter side are not learnt
RVT_REPRESENTATION = {"type": "StackedHistogram", "downsample": "nearest"}

# What the columns of events are called in files and arrays of other software.
COLUMN_NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps", "t_us"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "on"),
}
