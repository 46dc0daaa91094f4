"""A table of results in a CSV file that loses no row to crashes or to concurrent writers."""

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


def append_row(
    path: str | os.PathLike, row: dict[str, object], instead_of: Sequence[str] = ()
) -> None:
    """Add a row to a CSV file, in full precision.

    Columns that the file lacks are added on the right. Processes that append at the same time wait
    for each other. The file is written atomically (temporary file, then rename), so a reader or a
    crash never sees half a row. Rows that another program has cut off are left out with a warning,
    and a copy of the old file is kept beside the new one.

    Args:
        path: CSV file; it is created if it does not exist.
        row: values by column.
        instead_of: columns; the new row replaces rows with the same values in all of them. Default:
            none, so no row is replaced.

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
    """Present name of a metric of version 0.1, whose names did not say in which pixels sizes are.

    Args:
        metric: old or present name; a present one is returned unchanged.
    """
    metric = re.sub(r"/(AP|AR100)_([SML])$", r"/\1_\2_network_px", metric)
    return re.sub(r"/AP_(\d+(?:-\d+|\+))px$", r"/AP_\1_sensor_px", metric)


def evaluations(path: Path, split: str, record: dict) -> list[dict[str, str]]:
    """Rows of one training run, one per step, in order of steps.

    A file may also hold rows of an earlier run, and of tests with other thresholds or on other
    data; these are left out. If a step was evaluated again, as a resumed run does, the later values
    count.

    Args:
        path: the run's results.csv.
        split: ``val`` or ``test``.
        record: content of the run's run.json.

    Raises:
        ValueError: a row is cut off, or has no split or step.
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
            by_step.setdefault(int(row["step"]), {}).update(
                {key: value for key, value in row.items() if value}
            )
    return [by_step[step] for step in sorted(by_step)]


def compact(test_cfg: dict) -> str:
    """Post-processing settings as the text of one cell (compact JSON).

    Args:
        test_cfg: ``test_cfg`` of a model.
    """
    return json.dumps(test_cfg, sort_keys=True, separators=(",", ":"))


def _whole_rows(path: Path) -> list[dict[str, object]]:
    """Undamaged rows of the file. If some are damaged, a copy of the file is kept beside it."""
    try:
        rows = _read(path)
        whole = [row for row in rows if not _is_damaged(row)]
        if len(whole) == len(rows):
            return whole
    except (UnicodeDecodeError, csv.Error):
        whole = []
    kept = path.with_name(f"{path.stem}.damaged_{time.strftime('%Y%m%d_%H%M%S')}{path.suffix}")
    shutil.copy2(path, kept)
    text = (
        f"{path}: some rows are cut off or are not text; they are left out, and a copy of the old "
        f"file is kept as {kept.name}"
    )
    print_log(text, "current", logging.WARNING)
    return whole


def _is_damaged(row: dict[str, object]) -> bool:
    """Whether a row has fewer or more cells than there are columns."""
    return None in row or None in row.values()


def _read(path: Path) -> list[dict[str, object]]:
    """All rows of the file.

    If the last line has no line end, its last cell is ``None``: part of it may be missing.
    """
    if not path.exists():
        return []
    check_is_file(path)
    text = path.read_bytes().decode()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = [{key and current_name(key): value for key, value in row.items()} for row in reader]
    if rows and not text.endswith("\n"):
        rows[-1][list(rows[-1])[-1]] = None
    return rows
