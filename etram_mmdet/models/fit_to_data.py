"""Ask the data, never retype them: tell losses, heads and assigners what they need to know of the training boxes."""

from __future__ import annotations

from torch import nn

from etram_mmdet.datasets.etram_dataset import ETraMDataset


def fit_to_data(model: nn.Module, dataset: ETraMDataset) -> list[str]:
    """Call ``fit_to_data(BoxStatistics)`` of every module, and assigner, that has it; returns sentences for the log.

    It happens before training. What a part needs again at test time it must keep in buffers. Boxes are counted only
    where somebody asks.
    """
    parts = [part for module in model.modules() for part in (module, getattr(module, "assigner", None))]
    asking = [part for part in parts if hasattr(part, "fit_to_data")]
    boxes = dataset.box_statistics() if asking else None
    return [part.fit_to_data(boxes) for part in asking]
