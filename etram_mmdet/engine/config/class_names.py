"""Which classes a config's data have, without reading them."""

from __future__ import annotations

from collections.abc import Mapping

from etram_mmdet.engine.checkpoints.files import CONFIG_KEY, stored_config
from etram_mmdet.engine.config.checkpoint_config import carried_by
from etram_mmdet.events.class_sets import complete_metainfo, get_class_set
from etram_mmdet.utils.errors import InputError


def dataset_config(cfg: Mapping) -> Mapping:
    """Of the test data, else of validation or training."""
    loaders = [cfg.get(f"{split}_dataloader") for split in ("test", "val", "train")]
    return next((loader["dataset"] for loader in loaders if loader), {})


def metainfo_of(cfg: Mapping) -> dict:
    """Names and colours: those of ``class_set`` unless ``metainfo`` says others."""
    data = dataset_config(cfg)
    return complete_metainfo(get_class_set(data.get("class_set", "etram8")), data.get("metainfo"))


def check_checkpoint_classes(checkpoint: dict, cfg: Mapping, path: str) -> None:
    """Raises ``InputError`` where the checkpoint was trained for other classes, or the same in another order."""
    if CONFIG_KEY not in checkpoint.get("meta", {}):
        return
    with carried_by(path):
        theirs = [str(name) for name in metainfo_of(stored_config(checkpoint, path))["classes"]]
    ours = list(metainfo_of(cfg)["classes"])
    if theirs != ours:
        raise InputError(
            f"{path}: was trained to find {', '.join(theirs)}, but the config's data have {', '.join(ours)}; choose "
            "the class_set or metainfo that it was trained with"
        )
