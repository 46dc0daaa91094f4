"""Compares our detector with a fake of RVT.

The fake is a folder with the names of RVT's modules. Its detector is ours under RVT's parameter
names.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from etram_mmdet.analysis.speed.timing import compared, take_turns
from tests.helpers.cli import run

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
SMALL = ["--frame", 64, 96, "--windows", 2, "--steps", 1, "--frames", 20]
OPTIONS = ["--cfg-options", "model.backbone.partition_size=(1,3)", "model.backbone.embed_dims=32"]


@pytest.fixture
def rvt(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_same_weights_same_input_same_numbers(rvt, tmp_path):
    command = ["tools/benchmark_reference.py", rvt, "configs/baseline_small.py", *SMALL, "--fuse"]
    output = run(*command, "--json", tmp_path / "n.json", *OPTIONS, "model.backbone.head_dim=16")
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert (
        numbers["streaming"]["difference"] < 1e-4
    )  # also after several windows: the state is carried by both
    assert numbers["memory"]["ours_bytes"] == pytest.approx(
        numbers["memory"]["reference_bytes"], rel=0.1
    )
    assert 0 < numbers["evaluation"]["difference"] < 1
    assert (
        f"{numbers['evaluation']['whole']['ours_ms']:.1f}"
        in output.split("same, with breakdown and interval")[1]
    )
    for part in ("streaming", "training", "evaluation"):
        assert (
            f"{numbers[part]['reference_ms']:.1f}" in output
            and f"{numbers[part]['ratio']:.2f}" in output
        )


def test_refusals_are_sentences(rvt, tmp_path):
    output = run(
        "tools/benchmark_reference.py",
        tmp_path / "none",
        "configs/baseline_tiny.py",
        *OPTIONS,
        ok=False,
    )
    assert "holds no config/model/maxvit_yolox/default.yaml; name a clone of" in output
    output = run("tools/benchmark_reference.py", rvt, "configs/patch2.py", *OPTIONS, ok=False)
    assert "out_stages=(1, 2, 3): RVT always builds four stages" in output


def test_turns_alternate_and_ratios_are_of_rounds():
    calls = []
    seconds = take_turns(
        {name: lambda n=name: calls.append(n) for name in ("reference", "ours")}, 3, warm_up=1
    )
    assert calls == ["reference", "ours"] * 4 and len(seconds["ours"]) == 3
    result = compared(dict(reference=np.array([1.0, 2.0, 4.0]), ours=np.array([0.5, 1.0, 8.0])))
    assert result == dict(reference_ms=2000, ours_ms=1000, ratio=0.5, ratio_of_best=0.5)
