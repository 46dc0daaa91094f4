"""A folder with the names of RVT's modules, whose detector is ours under RVT's parameter names."""

from __future__ import annotations

from pathlib import Path

DETECTOR = """
import torch
from torch import nn
from mmdet.registry import MODELS
from mmengine.config import Config
import etram_mmdet
from etram_mmdet.engine.checkpoints.rvt_weights import from_rvt
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData


class YoloXDetector(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        b, stage = cfg.backbone, cfg.backbone.stage
        backbone = dict(type="MaxViTRNN", in_channels=b.input_channels, embed_dims=b.embed_dim,
                        head_dim=stage.attention.dim_head, patch_size=b.stem.patch_size,
                        partition_size=stage.attention.partition_size, num_blocks=b.num_blocks,
                        out_stages=cfg.fpn.in_stages, dws_conv=stage.lstm.dws_conv)
        model = Config.fromfile("configs/baseline.py").model
        model.backbone, model.bbox_head.num_classes = backbone, cfg.head.num_classes
        model.neck.num_csp_blocks = round(3 * cfg.fpn.depth)
        self.net = MODELS.build(model)
        self.calls = 0

    def load_state_dict(self, weights):
        self.net.load_state_dict(from_rvt(weights, self.net))

    def forward_backbone(self, x, states):
        features, states = self.net.backbone(x[None], states)
        return dict(enumerate(f[0] for f in features)), states

    def forward(self, x, states):
        features, states = self.forward_backbone(x, states)
        cls, box, obj = self.net.bbox_head(self.net.neck(tuple(features.values())))
        flat = lambda maps: torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2)
        return torch.cat([flat(box), flat(obj), flat(cls)], 2).sigmoid(), None, states

    def forward_detect(self, features, targets):
        frames = []
        for rows in targets:
            rows = rows[rows.sum(1) > 0]
            frame = DetDataSample(metainfo=dict(img_shape=(64, 96)))
            boxes = torch.cat([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2], 1)
            frame.gt_instances = InstanceData(bboxes=boxes, labels=rows[:, 0].long())
            frames.append(frame)
        losses = self.net.bbox_head.loss(self.net.neck(tuple(features.values())), frames)
        return None, dict(loss=self.net.parse_losses(losses)[0])
"""
OMEGACONF = """
from mmengine.config import ConfigDict

class OmegaConf:
    load = staticmethod(lambda path: ConfigDict(model=dict(
        backbone=dict(stem=dict(), stage=dict(attention=dict(), lstm=dict())),
        fpn=dict(), head=dict())))
"""
EVALUATION = """
def evaluate_list(found, truth, height, width, camera, apply_bbox_filters):
    assert len(found) == len(truth) and all(len(f) == 100 for f in found)
    return dict(AP=0.25)
"""
BOXES = """
import numpy as np
NAMES = ("t", "x", "y", "w", "h", "class_id", "class_confidence")
BBOX_DTYPE = np.dtype([(n, "f8") for n in NAMES])
"""
FILES = {
    "config/model/maxvit_yolox/default.yaml": "",
    "models/detection/yolox_extension/models/detector.py": DETECTOR,
    "omegaconf.py": OMEGACONF,
    "utils/evaluation/prophesee/evaluation.py": EVALUATION,
    "utils/evaluation/prophesee/io/box_loading.py": BOXES,
}


def write_fake_rvt(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
