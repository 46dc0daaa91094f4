# first: mmdet.models needs mmcv's operators or our replacement
from etram_mmdet import ops  # noqa: F401, I001
from etram_mmdet.models.backbones.maxvit_rnn import MaxViTRNN
from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.models.data_preprocessors.event_data_preprocessor import EventDataPreprocessor
from etram_mmdet.models.dense_heads.abc_yolox_head import ABCYOLOXHead
from etram_mmdet.models.dense_heads.aux_small_yolox_head import AuxSmallYOLOXHead
from etram_mmdet.models.dense_heads.rvt_yolox_head import RVTYOLOXHead
from etram_mmdet.models.dense_heads.size_aware_yolox_head import SizeAwareYOLOXHead
from etram_mmdet.models.detectors.recurrent_detector import RecurrentDetector
from etram_mmdet.models.detectors.stream_tta import StreamTTAModel
from etram_mmdet.models.building import fit_to_data
from etram_mmdet.models.losses.class_losses import (
    EQLV2ClassLoss,
    SeesawClassLoss,
    SmoothedClassLoss,
)
from etram_mmdet.models.losses.feedback_iou_loss import FeedbackIoULoss
from etram_mmdet.models.losses.nwd_loss import NWDLoss, nwd
from etram_mmdet.models.losses.size_aware_iou_loss import SizeAwareIoULoss
from etram_mmdet.models.losses.size_aware_iou_loss import SizeWeight, size_weight
from etram_mmdet.models.losses.squared_iou_loss import SquaredIoULoss
from etram_mmdet.models.task_modules.nwd_simota_assigner import NWDSimOTAAssigner
from etram_mmdet.models.task_modules.rvt_simota_assigner import RVTSimOTAAssigner

__all__ = [
    "ABCYOLOXHead",
    "AuxSmallYOLOXHead",
    "EQLV2ClassLoss",
    "EventDataPreprocessor",
    "FeedbackIoULoss",
    "MaxViTRNN",
    "NWDLoss",
    "NWDSimOTAAssigner",
    "RVTSimOTAAssigner",
    "RVTYOLOXHead",
    "RecurrentBackbone",
    "RecurrentDetector",
    "SeesawClassLoss",
    "SizeAwareIoULoss",
    "SizeAwareYOLOXHead",
    "SizeWeight",
    "SmoothedClassLoss",
    "SquaredIoULoss",
    "StreamTTAModel",
    "fit_to_data",
    "nwd",
    "size_weight",
]
