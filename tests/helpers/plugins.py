"""Every loss, head and assigner that a variant may use, in a small size, and data for them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.models import fit_to_data
from tests.test_models.test_detector import HEAD, TRAIN, build

CLASSES = ("pedestrian", "car", "bicycle")
SMALL = ("pedestrian", "bicycle")


def with_head(**keys) -> dict:
    return dict(bbox_head=HEAD | keys)


PLUGINS = {
    "SquaredIoULoss": with_head(loss_bbox=dict(type="SquaredIoULoss", loss_weight=4.0)),
    "SizeAwareIoULoss": with_head(loss_bbox=dict(type="SizeAwareIoULoss")),
    "FeedbackIoULoss": with_head(
        loss_bbox=dict(type="FeedbackIoULoss", edges_px=(4.0, 4.5))
    ),  # test boxes: 3 to 6 px
    "NWDLoss": with_head(loss_bbox=dict(type="NWDLoss")),
    "NWDSimOTAAssigner": dict(train_cfg=TRAIN | dict(assigner=dict(type="NWDSimOTAAssigner"))),
    "SizeAwareYOLOXHead": with_head(type="SizeAwareYOLOXHead"),
    "EQLV2ClassLoss": with_head(loss_cls=dict(type="EQLV2ClassLoss")),
    "SeesawClassLoss": with_head(loss_cls=dict(type="SeesawClassLoss")),
    "SmoothedClassLoss": with_head(loss_cls=dict(type="SmoothedClassLoss")),
    "ABCYOLOXHead": with_head(type="ABCYOLOXHead"),
    "AuxSmallYOLOXHead": with_head(
        type="AuxSmallYOLOXHead", small_classes=SMALL, merge_at_test=True
    ),
}


def data_with(
    *labels: int, size_px: tuple[float, float] = (4.0, 9.0), classes=CLASSES
) -> SimpleNamespace:
    """A stand-in for a dataset: boxes of these classes, all of one size."""
    sizes = np.tile(np.array(size_px, np.float32), (len(labels), 1))
    return SimpleNamespace(
        box_statistics=lambda: BoxStatistics(classes, np.array(labels, np.int64), sizes)
    )


def build_plugin(name: str, data=None, **kwargs):
    """A detector with one plugin, told about ``data`` (8 pedestrians, 2 cars, no bicycle)."""
    model = build(**PLUGINS[name], **kwargs)
    fit_to_data(model, data or data_with(*[0] * 8, 1, 1))
    return model.train()
