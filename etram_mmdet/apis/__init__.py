from etram_mmdet.apis.inference import Boxes, EventInferencer, init_detector

__all__ = ["Boxes", "EventInferencer", "init_detector"]
