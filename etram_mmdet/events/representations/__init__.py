from etram_mmdet.events.representations.base import (
    REPRESENTATIONS,
    Representation,
    build_representation,
    channels_of,
    stated_options,
)
from etram_mmdet.events.representations.mixed_density import MixedDensityEventStack
from etram_mmdet.events.representations.stacked_histogram import StackedHistogram
from etram_mmdet.events.representations.ternary_volume import TernaryVolume
from etram_mmdet.events.representations.time_surface import TimeSurface

__all__ = [
    "REPRESENTATIONS",
    "MixedDensityEventStack",
    "Representation",
    "StackedHistogram",
    "TernaryVolume",
    "TimeSurface",
    "build_representation",
    "channels_of",
    "stated_options",
]
