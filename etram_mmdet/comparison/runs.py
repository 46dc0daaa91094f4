"""Training runs as their work folders tell them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etram_mmdet.comparison.dumped_config import dumped_config
from etram_mmdet.comparison.evaluations import RESULTS_FILE, Selection, headline, read_evaluations
from etram_mmdet.engine.run_record import RUN_FILE
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.errors import InputError

_NEEDED = (
    *("steps", "batch", "samples", "clip_length", "lr", "schedule", "seed"),
    *("train_data", "val_data", "protocol", "test_cfg", "machine", "commit"),
)


@dataclass(frozen=True)
class Run:
    """One run: ``record`` is its run.json, ``config`` what mmengine dumped, as plain data.

    ``evaluations[step]`` are the metrics of the headline protocol on one split, by ascending step and without the
    protocol's name; ``step`` is the one that is compared.
    """

    name: str
    folder: Path
    record: dict
    config: dict
    evaluations: dict[int, dict[str, float]]
    step: int

    @property
    def protocol(self) -> str:
        """The rules of the headline numbers."""
        return headline(self.record)

    @property
    def metrics(self) -> dict[str, float]:
        return self.evaluations[self.step]

    @property
    def samples(self) -> int:
        """Clips seen up to the compared step."""
        return self.step * self.record["batch"]

    @property
    def classes(self) -> tuple[str, ...]:
        dataset = self.config["val_dataloader"]["dataset"]
        named = (dataset.get("metainfo") or {}).get("classes")
        return tuple(named or get_class_set(dataset.get("class_set", "etram8")).classes)


def read_runs(folders: Sequence[Path], selection: Selection) -> list[Run]:
    """One run per work folder, in this order, named by what tells the folders apart.

    Raises:
        InputError: a folder is missing, is named twice, or lacks a readable run.json, results.csv, config or the
            selected evaluation.
    """
    twice = [str(f) for i, f in enumerate(folders) if f.resolve() in [other.resolve() for other in folders[:i]]]
    if twice:
        raise InputError(f"{', '.join(twice)}: named twice; name each run once")
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    above = os.path.commonpath([path.parent for path in paths])
    return [
        _read_run(folder, str(path.relative_to(above)), selection) for folder, path in zip(folders, paths, strict=True)
    ]


def _read_run(folder: Path, name: str, selection: Selection) -> Run:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name work folders of tools/train.py, such as work_dirs/baseline")
    record = _read_record(_existing(folder / RUN_FILE))
    evaluations = read_evaluations(_existing(folder / RESULTS_FILE), selection.split, record)
    step = selection.step_among(evaluations, folder)
    return Run(name, folder, record, dumped_config(folder, record), evaluations, step)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path.parent}: holds no {path.name}, so it is no run that was trained and evaluated")
    return path


def _read_record(path: Path) -> dict:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON ({error}); restore it, or train the run again") from error
    missing = [key for key in _NEEDED if not isinstance(record, dict) or record.get(key) is None]
    if missing:
        raise InputError(
            f"{path}: does not tell {', '.join(missing)}, so nobody knows what its numbers may stand beside; train the "
            "run again, with validation"
        )
    return record
