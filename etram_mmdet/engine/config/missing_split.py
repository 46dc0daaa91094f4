"""Trainings whose data have no split for validation."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from etram_mmdet.engine.config.complete import TOGETHER
from etram_mmdet.events.choices import SPLITS
from etram_mmdet.events.preprocessing.sources import has_split


def leave_out_validation(cfg: Config) -> list[str]:
    """Take validation out of a training whose data folder has no split for it, in place.

    Args:
        cfg: a complete config. One without training, or whose validation data are wrapped, is not
            changed.

    Returns:
        One sentence for the log if validation was taken out, else none.
    """
    train, val = (
        (cfg.get(f"{part}_dataloader") or {}).get("dataset") or {} for part in ("train", "val")
    )
    if not cfg.get("train_cfg") or not all(
        "data_root" in data and "split" in data for data in (train, val)
    ):
        return []
    root = Path(val["data_root"])
    is_missing = val["split"] in SPLITS and root.is_dir() and not has_split(root, val["split"])
    if not is_missing or not has_split(Path(train["data_root"]), train["split"]):
        return []
    cfg.update(dict.fromkeys(TOGETHER["val"]))
    folder = root / val["split"]
    return [
        f"{folder}: no recordings, so the training runs without validation: no AP and no best "
        "checkpoint"
    ]
