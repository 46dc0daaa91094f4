"""A table of results that loses no row, whoever writes to it and whatever interrupts it."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from etram_mmdet.utils.files import atomic_write, check_is_file
from etram_mmdet.utils.locks import changing


def append_row(path: str | os.PathLike, row: dict[str, object], instead_of: Sequence[str] = ()) -> None:
    """Add a row to a csv file, in full precision; columns the file lacks are added at its right.

    It takes the place of rows with the same values in the columns ``instead_of``; default: of none.
    Processes that append at once wait for each other. The whole file is written aside and moved into place, so a reader
    or a crash never meets half a row. Rows that something else cut off are left out with a warning, and the file as it
    was is kept beside the new one.

    Raises:
        InputError: the file cannot be written, or another process keeps it locked for a minute.
    """
    path = Path(path)
    with changing(path):
        rows = [*(each for each in _whole_rows(path) if not _agree(each, row, instead_of)), row]
        columns = list(dict.fromkeys(column for each in rows for column in each))
        with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


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
        if _is_damaged(row):
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


def _whole_rows(path: Path) -> list[dict[str, object]]:
    """The rows of the file; where some are damaged the others, and the file is kept under another name."""
    try:
        rows = _read(path)
        whole = [row for row in rows if not _is_damaged(row)]
        if len(whole) == len(rows):
            return whole
    except (UnicodeDecodeError, csv.Error):
        whole = []
    kept = path.with_name(f"{path.stem}.damaged_{time.strftime('%Y%m%d_%H%M%S')}{path.suffix}")
    shutil.copy2(path, kept)
    text = f"{path}: holds rows that are cut off or no text; they are left out, and {kept.name} is the file as it was"
    print_log(text, "current", logging.WARNING)
    return whole


def _is_damaged(row: dict[str, object]) -> bool:
    """Whether a row has fewer or more cells than there are columns."""
    return None in row or None in row.values()


def _read(path: Path) -> list[dict[str, object]]:
    """All rows; of one whose line does not end, the last cell is ``None``: part of it may be missing."""
    if not path.exists():
        return []
    check_is_file(path)
    text = path.read_bytes().decode()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = [{key and current_name(key): value for key, value in row.items()} for row in reader]
    if rows and not text.endswith("\n"):
        rows[-1][list(rows[-1])[-1]] = None
    return rows
