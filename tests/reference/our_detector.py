"""Our detector with the weights that the reference had."""

from __future__ import annotations

from functools import cache

import torch
from mmdet.registry import MODELS
from torch import Tensor

from etram_mmdet.engine.checkpoints.rvt_weights import from_rvt, rvt_name
from tests.reference.model_cases import PARTITION, ModelCase, weight

NORM = dict(type="BN", eps=1e-5, momentum=0.1)


def build_detector(case: ModelCase):
    """RVT tiny."""
    model = MODELS.build(
        dict(
            type="RecurrentDetector",
            backbone=dict(
                type="MaxViTRNN",
                in_channels=20,
                embed_dims=32,
                head_dim=32,
                patch_size=case.patch_size,
                partition_size=PARTITION,
            ),
            neck=dict(type="YOLOXPAFPN", num_csp_blocks=1, norm_cfg=NORM),
            bbox_head=dict(type="RVTYOLOXHead", num_classes=case.num_classes),
            train_cfg=dict(assigner=dict(type="RVTSimOTAAssigner")),
            test_cfg=dict(score_thr=0.001, nms=dict(type="nms", iou_threshold=0.45)),
        )
    )
    shapes = {rvt_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(
        from_rvt({name: rvt_tensor(name, shape) for name, shape in shapes.items()}, model)
    )
    return model


@cache
def rvt_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Of RVT's ``state_dict``."""
    return torch.from_numpy(weight(name, shape))
