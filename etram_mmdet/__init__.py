"""Event-camera detection of road users as plugins for MMDetection; importing it registers them all."""

from etram_mmdet import threads  # noqa: F401, I001  first: PyTorch reads what it sets
from etram_mmdet import ops  # noqa: F401  second: mmdet.models needs mmcv's operators or our stand-in
from etram_mmdet import datasets, engine, evaluation, models  # noqa: F401

__version__ = "0.2.0"
