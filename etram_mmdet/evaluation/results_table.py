"""A table of results that survives interruption."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from etram_mmdet.utils.files import check_is_file


def append_row(path: str | os.PathLike, row: dict[str, object], instead_of: Sequence[str] = ()) -> None:
    """Add a row to a csv file, in full precision; columns the file lacks are added at its right.

    It takes the place of rows with the same values in the columns ``instead_of``; default: of none.
    The whole file is written aside and moved into place, so a reader or a crash never meets half a row.
    """
    path = Path(path)
    rows = [*(each for each in _read(path) if not _agree(each, row, instead_of)), row]
    columns = list(dict.fromkeys(column for each in rows for column in each))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(aside, path)


def _agree(one: dict[str, object], other: dict[str, object], columns: Sequence[str]) -> bool:
    return bool(columns) and all(str(one.get(name)) == str(other.get(name)) for name in columns)


def current_name(metric: str) -> str:
    """The name of a metric today, for one of version 0.1, whose names did not say in which pixels sizes are."""
    metric = re.sub(r"/(AP|AR100)_([SML])$", r"/\1_\2_network_px", metric)
    return re.sub(r"/AP_(\d+(?:-\d+|\+))px$", r"/AP_\1_sensor_px", metric)


def evaluations(path: Path, split: str, record: dict) -> list[dict[str, str]]:
    """Rows of ``split`` that belong to the run of this run.json, one for each step, in order of steps.

    A folder may also hold rows of an earlier run, and of tests with other thresholds or on other data. Of a step that
    was evaluated again, as a resumed run does, the later values count. Raises ``ValueError`` for a row that is cut off.
    """
    wanted = dict(split=split, test_cfg=compact(record["test_cfg"]), run=record.get("run"))
    if split == "val":
        wanted["data"] = (record.get("val_data") or {}).get("sha256")
    by_step: dict[int, dict[str, str]] = {}
    for row in _read(path):
        if None in row.values():
            raise ValueError("a row is cut off")
        missing = [key for key in ("split", "step") if not row.get(key)]
        if missing:
            raise ValueError(f"a row has no {missing[0]}")
        if all(not value or not row.get(key) or row[key] == value for key, value in wanted.items()):
            by_step.setdefault(int(row["step"]), {}).update({key: value for key, value in row.items() if value})
    return [by_step[step] for step in sorted(by_step)]


def compact(test_cfg: dict) -> str:
    """Post-processing as one cell."""
    return json.dumps(test_cfg, sort_keys=True, separators=(",", ":"))


def _read(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    check_is_file(path)
    with path.open(newline="", encoding="utf-8") as file:
        return [{key and current_name(key): value for key, value in row.items()} for row in csv.DictReader(file)]
