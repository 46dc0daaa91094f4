"""Build our detector around the weights of a golden file."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS

from etram_mmdet.engine.rvt_weights import from_rvt

SIZES = {"tiny": dict(embed_dims=32, head_dim=32, csp=1)}
NORM = dict(type="BN", eps=1e-5, momentum=0.1)


def load_golden(path) -> dict:
    return torch.load(path, weights_only=True)


def build_golden_detector(golden: dict):
    meta = golden["meta"]
    size = SIZES[meta["size"]]
    model = MODELS.build(
        dict(
            type="RecurrentDetector",
            backbone=dict(
                type="MaxViTRNN",
                embed_dims=size["embed_dims"],
                head_dim=size["head_dim"],
                patch_size=meta["patch_size"],
                partition_size=meta["partition_size"],
            ),
            neck=dict(type="YOLOXPAFPN", num_csp_blocks=size["csp"], norm_cfg=NORM),
            bbox_head=dict(type="RVTYOLOXHead", num_classes=meta["num_classes"]),
            train_cfg=dict(assigner=dict(type="RVTSimOTAAssigner")),
            test_cfg=dict(score_thr=0.001, nms=dict(type="nms", iou_threshold=0.45)),
        )
    )
    weights = {name: tensor.float() for name, tensor in golden["state_dict"].items()}
    model.load_state_dict(from_rvt(weights, model))
    return model
