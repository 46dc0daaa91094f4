"""Registers every plugin of this package with MMDetection.

Configs name this module in ``custom_imports``.
"""

from etram_mmdet.utils import threads  # noqa: F401, I001  first: PyTorch reads its settings
from etram_mmdet import ops  # noqa: F401  second: mmdet.models needs mmcv's operators or ours
from etram_mmdet import datasets, engine, models  # noqa: F401
from etram_mmdet.evaluation import event_coco_metric, stream_evaluator  # noqa: F401
from etram_mmdet.visualization import event_visualizer  # noqa: F401
