"""The host waits for the device in few places, and in no others.

A step or a window that waits keeps the GPU idle until the host has started the next operators.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from etram_mmdet.apis.inference import EventInferencer, init_detector
from tests.cuda_stand_in import device  # noqa: F401
from tests.cuda_stand_in.detectors import (
    HW,
    NARROW,
    build,
    clips,
    narrow_config,
    waits_of_windows,
)
from tests.cuda_stand_in.memory import DEVICE
from tests.cuda_stand_in.training_loop import train
from tests.cuda_stand_in.waits import counted, recorded
from tests.helpers.paths import ROOT

STEP = {
    ("_local_scalar_dense", "rvt_simota_assigner.py candidates"): 1,
    ("nonzero", "rvt_simota_assigner.py choose"): 1,
}
LOG_LINE = {("copy to the host", "lazy_history.py read"): 1}
CHECK_OF_LOSSES = {("copy to the host", "finite_loss.py _not_finite"): 1}
NMS = {("copy to the host", "suppression.py _survivors"): 1}
WINDOW = {("nonzero", "rvt_yolox_head.py predict_by_feat"): 1} | NMS
DETECT = WINDOW | {("copy to the host", "transfer.py all_to_host"): 1}


@pytest.fixture(scope="module")
def cfg():
    return narrow_config("baseline")


@pytest.fixture(scope="module")
def model(cfg):
    return build(cfg)


def test_a_training_step(model, cfg, tmp_path):
    """Losses are read when the log gets a line, and when they are checked."""
    for hook in (cfg.default_hooks.logger, *cfg.custom_hooks):
        hook["interval"] = 3
    _, of_steps = train(model, cfg, 5, tmp_path)
    assert of_steps == [STEP, STEP, STEP | LOG_LINE | CHECK_OF_LOSSES, STEP, STEP]
    assert all(sum(waits.values()) <= 4 for waits in of_steps)


def test_a_streaming_window(model):
    assert waits_of_windows(model) == [WINDOW, WINDOW]


def test_detection_in_a_window():
    detector = init_detector(ROOT / "configs/baseline.py", device=DEVICE, cfg_options=NARROW)
    inferencer = EventInferencer(detector, score_thr=0.0)
    with recorded() as seen:
        boxes = inferencer.detect(np.zeros((20, *HW), np.uint8))
    assert counted(seen) == DETECT
    assert len(boxes) and boxes.scores.dtype == np.float32


@torch.no_grad()
def test_prediction_of_a_clip(model):
    with recorded() as seen:
        model.eval().test_step(clips(model, 1, 2, label_every=1))
    assert counted(seen) == {
        ("nonzero", "rvt_yolox_head.py predict_by_feat"): 1,
        ("copy to the host", "rvt_yolox_head.py predict_by_feat"): 1,
    } | {place: 2 * count for place, count in NMS.items()}
