"""Keys of the dicts of a config that have no registered type, and the types of these keys."""

from __future__ import annotations

from mmcv.ops import nms, soft_nms
from mmengine.dist import init_dist
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.runner import (
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
    set_random_seed,
)
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed import init_process_group
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from etram_mmdet.datasets.shared_keys import SHARED

_TOP = (
    "runner_type custom_imports base_lr model_wrapper_cfg sync_bn find_unused_parameters compile "
    "activation_checkpointing efficient_conv_bn_eval tta_model tta_pipeline log_level "
    "allow_other_classes"
)
_PARAMWISE = (
    "custom_keys bias_lr_mult bias_decay_mult norm_decay_mult flat_decay_mult dwconv_decay_mult "
    "dcn_offset_lr_mult bypass_duplicate"
)
_HOOKS = "runtime_info timer sampler_seed logger param_scheduler checkpoint visualization"
_TRAIN_CFG = "assigner sampler allowed_border pos_weight debug"
_TEST_CFG = "score_thr nms_pre nms min_bbox_size max_per_img operating_points"
# By place: what is called with the dict, keys that are read otherwise, `...` if there may be more.
UNTYPED = {
    "": (Runner, _TOP, *SHARED),
    "randomness": (set_random_seed,),
    "env_cfg": ("cudnn_benchmark mp_cfg dist_cfg resource_limit rank_timeout_s",),
    "env_cfg.mp_cfg": (set_multi_processing,),
    "env_cfg.dist_cfg": (init_dist, init_process_group),
    "auto_scale_lr": ("enable base_batch_size",),
    "train_cfg": (IterBasedTrainLoop, "by_epoch max_epochs"),
    "val_cfg": (ValLoop,),
    "test_cfg": (TestLoop,),
    "*_dataloader": (DataLoader, "num_batch_per_epoch disable_subprocess_warning"),
    "*_evaluator": (Evaluator,),
    "log_processor": (LogProcessor,),
    "default_hooks": (_HOOKS, ...),
    "optim_wrapper": (OptimWrapper, "constructor paramwise_cfg", ...),
    "*.clip_grad": (clip_grad_norm_, clip_grad_value_),
    "*.paramwise_cfg": (_PARAMWISE, ...),
    "*.paramwise_cfg.custom_keys.*": ("lr_mult decay_mult", ...),  # and settings of the optimizer
    "model.train_cfg": (_TRAIN_CFG,),  # of an unknown head
    "model.test_cfg": (_TEST_CFG,),
    "model.test_cfg*nms": (nms, soft_nms, "class_agnostic split_thr"),
    "tta_model.tta_cfg": ("nms max_per_img",),
    "tta_model.tta_cfg.nms": (nms, soft_nms, "class_agnostic split_thr"),
}
# Types of keys that have no annotation.
KIND_OF_KEY = {
    key: kind
    for kind, keys in {
        "float": "base_lr allowed_border pos_weight score_thr min_bbox_size iou_threshold "
        "split_thr lr_mult decay_mult rank_timeout_s",
        "int": "base_batch_size nms_pre max_per_img max_epochs num_batch_per_epoch resource_limit",
        "bool": "enable find_unused_parameters cudnn_benchmark by_epoch debug class_agnostic "
        "bypass_duplicate allow_other_classes",
        "str": "runner_type sync_bn constructor",
        "int | str": "log_level priority",
        "dict": f"{_HOOKS} custom_imports model_wrapper_cfg tta_model mp_cfg dist_cfg custom_keys "
        "paramwise_cfg nms assigner",
        "dict | list": "model train_dataloader val_dataloader test_dataloader train_cfg val_cfg "
        "test_cfg optim_wrapper param_scheduler val_evaluator test_evaluator default_hooks "
        "auto_scale_lr env_cfg log_processor visualizer randomness data_preprocessor",
        "list": "custom_hooks",
    }.items()
    for key in keys.split()
}
OF_HEAD = ("model.train_cfg", "model.test_cfg")  # the detector hands them to the head
