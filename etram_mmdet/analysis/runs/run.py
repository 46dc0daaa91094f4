"""A finished run, read from its work folder. Its config is read as data, nothing is executed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etram_mmdet.analysis.runs.evaluations import (
    RESULTS_FILE,
    Selection,
    headline,
    read_evaluations,
)
from etram_mmdet.datasets.shared_keys import dataset_configs, metainfo_of
from etram_mmdet.engine.hooks.run_record import RUN_FILE
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.json_files import read_json
from etram_mmdet.utils.plain_config import read_plain_config


def dumped_config(folder: Path, record: dict) -> dict:
    """Returns the complete config that training wrote into its folder; tuples become lists.

    Args:
        folder: work folder of the run.
        record: run.json of the run; the config must fit it.

    Raises:
        InputError: no file in the folder is such a config, or several are and differ.
    """
    found = {path.name: config for path in sorted(folder.glob("*.py")) if (config := _read(path))}
    # There are several if the run was trained again under another name, or if an ablation's config
    # is in the same folder.
    if len(found) > 1:
        found = {name: config for name, config in found.items() if _belongs(config, record)}
    if not found:
        raise InputError(
            f"{folder}: holds no .py with the config that belongs to its run.json; train the run "
            "again"
        )
    first, *others = found.values()
    if any(other != first for other in others):
        raise InputError(
            f"{folder}: {', '.join(found)} differ and each may be the config of its run.json; keep "
            "only the run's own"
        )
    return first


def _belongs(config: dict, record: dict) -> bool:
    said = (config["train_cfg"].get("max_iters"), config["optim_wrapper"]["optimizer"].get("lr"))
    test_cfg = {
        key: value
        for key, value in config["model"].get("test_cfg", {}).items()
        if key != "operating_points"
    }
    return said == (record["steps"], record["lr"]) and test_cfg == record["test_cfg"]


def _read(path: Path) -> dict | None:
    """Returns ``None`` for a file that is no training config, such as a copied plugin."""
    try:
        config = read_plain_config(path)
    except InputError:
        return None
    return (
        config if {"model", "train_cfg", "optim_wrapper", "val_dataloader"} <= set(config) else None
    )


_NEEDED = """
    steps batch samples clip_length lr schedule seed train_data val_data protocol test_cfg machine
    commit
""".split()


@dataclass(frozen=True)
class Run:
    """One run and the evaluation that is compared.

    Attributes:
        name: name in tables.
        folder: work folder of the run.
        record: content of run.json.
        config: complete config that mmengine wrote, as plain data.
        evaluations: metrics of the headline protocol on one split by step, in ascending order. The
            protocol's name is left out of their keys.
        step: step of the evaluation that is compared.
    """

    name: str
    folder: Path
    record: dict
    config: dict
    evaluations: dict[int, dict[str, float]]
    step: int

    @property
    def protocol(self) -> str:
        """The headline protocol, with its rules."""
        return headline(self.record)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the compared evaluation."""
        return self.evaluations[self.step]

    @property
    def samples(self) -> int:
        """Clips seen up to the compared step."""
        return self.step * self.record["batch"]

    @property
    def facts(self) -> dict:
        """Content of run.json with ``metrics``, ``samples_seen`` and ``starting_weights``.

        The starting weights are ``load_from``, unless the run was resumed from its own checkpoint.
        """
        weights = None if self.config.get("resume") else self.config.get("load_from")
        return self.record | dict(
            metrics=self.metrics, samples_seen=self.samples, starting_weights=weights
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the validation data; in a wrapper those of its first data set."""
        (_, dataset), *_ = dataset_configs(dict(val_dataloader=self.config["val_dataloader"]))
        return tuple(metainfo_of(dataset)["classes"])


def read_runs(folders: Sequence[Path], selection: Selection) -> list[Run]:
    """Reads one run per work folder, in the same order.

    A run's name is the part of its path in which the folders differ.

    Args:
        folders: work folders of tools/train.py.
        selection: which evaluation of each run is compared.

    Raises:
        InputError: a folder is missing or named twice, or it lacks a readable run.json,
            results.csv, config or the selected evaluation.
    """
    twice = [
        str(f)
        for i, f in enumerate(folders)
        if f.resolve() in [other.resolve() for other in folders[:i]]
    ]
    if twice:
        raise InputError(f"{', '.join(twice)}: named twice; name each run once")
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    above = os.path.commonpath([path.parent for path in paths])
    return [
        _read_run(folder, str(path.relative_to(above)), selection)
        for folder, path in zip(folders, paths, strict=True)
    ]


def _read_run(folder: Path, name: str, selection: Selection) -> Run:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; name work folders of tools/train.py, such as "
            "work_dirs/baseline"
        )
    record = _read_record(_existing(folder / RUN_FILE))
    evaluations = read_evaluations(_existing(folder / RESULTS_FILE), selection.split, record)
    step = selection.step_among(evaluations, folder)
    return Run(name, folder, record, dumped_config(folder, record), evaluations, step)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"{path.parent}: holds no {path.name}, so it is not the folder of a run that was "
            "trained and evaluated"
        )
    return path


def _read_record(path: Path) -> dict:
    record = read_json(path, "restore it, or train the run again")
    missing = [key for key in _NEEDED if not isinstance(record, dict) or record.get(key) is None]
    if missing:
        raise InputError(
            f"{path}: lacks {', '.join(missing)}, so nobody knows with which runs it may be "
            "compared; train the run again, with validation"
        )
    return record
