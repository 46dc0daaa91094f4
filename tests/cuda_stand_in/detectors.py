"""Small detectors of the shipped configs on the stand-in device, and what they have to do there."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from etram_mmdet.analysis.speed.model import build_model
from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.models import fit_to_data
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import random_clips
from tests.cuda_stand_in.memory import DEVICE
from tests.cuda_stand_in.waits import counted, recorded
from tests.helpers.paths import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
HW = (30, 60)  # padded to 32x64 by strides of 32 and the partition
NARROW = {
    "model.backbone.embed_dims": 8,
    "model.backbone.head_dim": 8,
    "model.backbone.partition_size": (1, 2),
    "model.neck.num_csp_blocks": 1,
    "model.test_cfg.score_thr": 0.0,  # an untrained detector is never sure of anything
}
# A backbone of mmdet, which has no state and gets the labelled frames only.
STATELESS = dict(
    type="RecurrentDetector",
    in_channels=20,
    backbone=dict(type="CSPNeXt", widen_factor=0.125, deepen_factor=0.17, out_indices=(2, 3, 4)),
    neck=dict(type="YOLOXPAFPN", num_csp_blocks=1),
    bbox_head=dict(type="RVTYOLOXHead", num_classes=8),
    train_cfg=dict(assigner=dict(type="RVTSimOTAAssigner")),
    test_cfg=dict(score_thr=0.0, nms_pre=5000, nms=dict(type="nms", iou_threshold=0.45)),
)


def narrow_config(name: str, **options) -> Config:
    """A shipped config with few channels.

    Args:
        name: of the file, without ``.py``.
        options: further settings by dotted name.
    """
    return load_config(ROOT / "configs" / f"{name}.py", NARROW | options)


def parts_of(cfg: Config) -> set[tuple[str, str]]:
    """Kinds of backbone, head, loss, assigner and representation in a config: (slot, type).

    Args:
        cfg: a shipped config.
    """
    found = {("representation", cfg.train_dataloader.dataset.representation.type)}
    found |= set(_types("model", cfg.model))
    return found


def _types(slot: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if "type" in value:
            yield slot, value["type"]
        for key, each in value.items():
            yield from _types(key, each)


def one_of_each_kind() -> list[str]:
    """Names of a few configs that together hold every kind of part of all configs."""
    parts = {path.stem: parts_of(load_config(path)) for path in CONFIGS}
    missing = set().union(*parts.values())
    chosen = []
    while missing:
        best = max(parts, key=lambda name: len(parts[name] & missing))
        chosen.append(best)
        missing -= parts[best]
    return chosen


def build(cfg: Config, device: str = DEVICE) -> nn.Module:
    """The detector of a config, which knows the statistics of made-up training boxes.

    Args:
        cfg: the config.
        device: where it is put. Default: the stand-in device.
    """
    torch.manual_seed(0)
    model = build_model(cfg, torch.device("cpu"))
    fit_to_data(model, SimpleNamespace(box_statistics=lambda: _statistics(cfg)))
    return model.to(device)


def _statistics(cfg: Config) -> BoxStatistics:
    classes = get_class_set(cfg.class_set).classes
    labels = np.repeat(np.arange(len(classes)), 10 * np.arange(1, len(classes) + 1))
    return BoxStatistics(classes, labels, np.full((len(labels), 2), 20.0))


def wrapper_of(model: nn.Module, cfg: Config) -> OptimWrapper:
    """The optimizer of a config, for a detector that is put into training mode.

    Args:
        model: the detector.
        cfg: the config.
    """
    return build_optim_wrapper(model.train(), cfg.optim_wrapper)


def clips(model: nn.Module, lanes: int, frames: int, is_first: bool = True, **options) -> dict:
    """A random batch as the data loader gives it.

    Args:
        model: the detector.
        lanes: number of clips.
        frames: length of a clip.
        is_first: whether recordings start with these clips. Default: yes.
        options: further arguments of :func:`random_clips`.
    """
    data = random_clips(model, lanes, frames, HW, **options)
    for sample in data["data_samples"]:
        sample[0].set_metainfo(dict(is_first=is_first))
    return data


@torch.no_grad()
def predict(model: nn.Module) -> list:
    """Boxes of two labelled frames of one clip.

    Args:
        model: the detector.
    """
    return model.eval().test_step(clips(model, 1, 2, label_every=1))


def stream(model: nn.Module, windows: int = 2, **how) -> list:
    """Boxes of a few windows of one stream with its state.

    Args:
        model: the detector.
        windows: how many. Default: 2.
        how: arguments of :class:`Streamer`.
    """
    streamer = Streamer(model, **how)
    states = None
    found = []
    for seed in range(windows):
        frames = clips(model, 1, 1, label_every=1, seed=seed)["inputs"][0].to(streamer.device)
        boxes, states = streamer(frames, states)
        found += boxes
    return found


def waits_of_windows(model: nn.Module, windows: int = 2) -> list[dict]:
    """Where the host waits in each window of one stream, with how often."""
    streamer = Streamer(model)
    frames = clips(model, 1, 1)["inputs"][0].to(DEVICE)
    states = None
    found = []
    for _ in range(windows):
        with recorded() as seen:
            _, states = streamer(frames, states)
        found.append(counted(seen))
    return found
