"""What a checkpoint says about its training: classes, time between windows, sensor."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from etram_mmdet.datasets.shared_keys import dataset_config, metainfo_of
from etram_mmdet.engine.checkpoints.carried_config import carried_by, stored_config
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY, SENSOR_KEY, STEP_KEY
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.utils.errors import InputError

ALLOW_KEY = "allow_other_classes"  # of a config: a training may start from weights of other classes


def checkpoint_classes(content: dict, path: str | Path) -> list[str]:
    """Names of the classes that a checkpoint was trained to find; empty if it does not hold them.

    Args:
        content: from :func:`load_checkpoint_file`.
        path: the checkpoint's file, for messages.
    """
    return [str(name) for name in stored_metainfo(content, path).get("classes", ())]


def check_checkpoint_classes(content: dict, cfg: Config, path: str) -> None:
    """Refuse a checkpoint of other classes than the data, or of the same classes in another order.

    Args:
        content: from :func:`load_checkpoint_file`.
        cfg: a complete config.
        path: the checkpoint's file, for the message.

    Raises:
        InputError: the classes differ.
    """
    theirs = checkpoint_classes(content, path)
    ours = list(metainfo_of(dataset_config(cfg))["classes"])
    if theirs and theirs != ours:
        allow = (
            f", or set {ALLOW_KEY}=True, which copies all weights but those of the class layers; "
            "in these, only the rows of classes with the same name are copied"
        )
        raise InputError(
            f"{path}: was trained to find {', '.join(theirs)}, but the config's data have "
            f"{', '.join(ours)}; choose the class_set or metainfo that it was trained with"
            f"{allow if cfg.get('train_cfg') else ''}"
        )


def stored_metainfo(content: dict, path: str | Path) -> dict:
    """Class names and colours that a checkpoint was trained with; empty if not stored.

    Args:
        content: from :func:`load_checkpoint_file`.
        path: the checkpoint's file, for messages.
    """
    told = content.get("meta", {}).get("dataset_meta") or {}
    if "classes" in told:
        colours = dict(palette=list(map(tuple, told["palette"]))) if "palette" in told else {}
        return dict(classes=tuple(told["classes"]), **colours)
    if CONFIG_KEY not in content.get("meta", {}):
        return {}
    with carried_by(path):
        return metainfo_of(dataset_config(stored_config(content, path)))


def trained_step_us(content: dict, cfg: Config) -> int | None:
    """Step of the training in microseconds, from the checkpoint; ``None`` if it is not known.

    For a checkpoint from before version 0.2 it follows from the config.

    Args:
        content: from :func:`load_checkpoint_file`.
        cfg: a complete config.
    """
    steps_as_rvt = dataset_config(cfg).get("frames") == "rvt"
    return content.get("meta", {}).get(STEP_KEY) or (STEP_US if steps_as_rvt else None)


def trained_sensor_px(content: dict, cfg: Config) -> tuple[int, int] | None:
    """Width and height of the sensor of the training; ``None`` if they are not known.

    Args:
        content: from :func:`load_checkpoint_file`.
        cfg: a complete config.
    """
    told = content.get("meta", {}).get(SENSOR_KEY) or dataset_config(cfg).get("sensor_px")
    return tuple(told) if told else None
