"""Collect the description of a detector that is in memory."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from etram_mmdet.datasets.shared_keys import dataset_config, representation_of
from etram_mmdet.deploy.description import Description
from etram_mmdet.events.class_sets import plain_class_set
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.text import as_plain

# Settings of a data set that decide at which times its windows end.
_TIMES = ("clip_length", "preset", "frames", "reading", "class_set")


def describe(detector: nn.Module) -> Description:
    """The description of a detector.

    Args:
        detector: from :func:`init_detector`.
    """
    data = dataset_config(detector.cfg)
    representation = as_plain(representation_of(data))
    test_cfg = detector.cfg.model.get("test_cfg") or {}
    return Description(
        classes=tuple(detector.dataset_meta["classes"]),
        palette=tuple(map(tuple, detector.dataset_meta["palette"])),
        representation=representation,
        window_us=data.get("window_us") or PreprocessSettings.window_us,
        step_us=getattr(detector, "step_us", None),
        sensor_px=getattr(detector, "sensor_px", None),
        score_thr=float(test_cfg.get("score_thr", 0.0)),
        nms=as_plain(test_cfg.get("nms") or {}),
        nms_pre=int(test_cfg.get("nms_pre", -1)),
        operating_points=_tuned(test_cfg),
        trained_on=as_plain(getattr(detector, "trained_on", None) or {}),
        data=_times_of(data) | dict(representation=representation),
    )


def _times_of(data: Mapping) -> dict:
    """The settings that decide at which times windows end, without names of files."""
    found = {key: as_plain(data[key]) for key in _TIMES if data.get(key) is not None}
    if "class_set" in found:
        found["class_set"] = plain_class_set(found["class_set"])
    return found


def _tuned(test_cfg: Mapping) -> dict | None:
    points = test_cfg.get("operating_points")
    return None if points is None else as_plain(points)
