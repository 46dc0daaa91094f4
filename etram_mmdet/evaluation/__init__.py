"""Metrics, each named by its protocol."""

from .coco_protocol import coco_metrics
from .event_coco_metric import EventCocoMetric
from .frames import Frame
from .protocols import PROTOCOLS, Protocol, get_protocols
from .results_csv import append_row

__all__ = ["PROTOCOLS", "EventCocoMetric", "Frame", "Protocol", "append_row", "coco_metrics", "get_protocols"]
