"""The complete config that training leaves in its folder, read as data: nothing in it is executed."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.engine.plain_config import read_plain_config
from etram_mmdet.events.errors import InputError


def dumped_config(folder: Path, record: dict) -> dict:
    """The config of the run with this run.json; tuples become lists.

    Raises:
        InputError: no file in ``folder`` is such a config, or several are and differ.
    """
    found = {path.name: config for path in sorted(folder.glob("*.py")) if (config := _read(path))}
    if len(found) > 1:  # trained again under another name, or a plan's file beside the run
        found = {name: config for name, config in found.items() if _belongs(config, record)}
    if not found:
        raise InputError(f"{folder}: holds no .py with the config that belongs to its run.json; train the run again")
    first, *others = found.values()
    if any(other != first for other in others):
        raise InputError(
            f"{folder}: {', '.join(found)} differ and each may be the config of its run.json; leave only the run's own"
        )
    return first


def _belongs(config: dict, record: dict) -> bool:
    said = (config["train_cfg"].get("max_iters"), config["optim_wrapper"]["optimizer"].get("lr"))
    test_cfg = {key: value for key, value in config["model"].get("test_cfg", {}).items() if key != "operating_points"}
    return said == (record["steps"], record["lr"]) and test_cfg == record["test_cfg"]


def _read(path: Path) -> dict | None:
    """``None`` for a file that is no config of a training, such as a copied plugin."""
    try:
        config = read_plain_config(path)
    except InputError:
        return None
    return config if {"model", "train_cfg", "optim_wrapper", "val_dataloader"} <= set(config) else None
