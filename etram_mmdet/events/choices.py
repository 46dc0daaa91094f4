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

LabelUnit = Literal["frames", "s", "ms", "us", "ns"]  # unit of the times in a label file

FROM_START = "start"  # label offset: labels count from the recording's start

DOWNSAMPLE_WORDS = ("none", "nearest", "sum")  # the last two take a factor, as in sum8; default 2

# Names of the classes in events/representations, for help texts; a test compares.
REPRESENTATION_NAMES = (
    "MixedDensityEventStack",
    "StackedHistogram",
    "TernaryVolume",
    "TimeSurface",
)
# Names of the formats in events/label_formats; a test compares.
LABEL_FORMAT_NAMES = ("prophesee", "coco", "cvat", "csv", "mot", "yolo")
MIN_SIDE_PX = 5  # boxes with a shorter side are not used in training
RVT_REPRESENTATION = {"type": "StackedHistogram", "downsample": "nearest"}

# Names of event columns in files and arrays of other software.
COLUMN_NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps", "t_us"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "on"),
}
