from etram_mmdet.apis.inference import Boxes, EventInferencer
from etram_mmdet.engine.checkpoints.opening import init_detector

__all__ = ["Boxes", "EventInferencer", "init_detector"]
