"""What a data set holds: numbers, warnings, a picture, and size thresholds for the loss."""

from .census import Boxes, Census, RecordingCensus
from .gather import take_census

__all__ = ["Boxes", "Census", "RecordingCensus", "take_census"]
