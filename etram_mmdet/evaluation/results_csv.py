"""A table of results that survives interruption."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path


def append_row(path: str | os.PathLike, row: dict[str, object]) -> None:
    """Add a row to a csv file, in full precision; columns the file lacks are added at its right.

    The whole file is written aside and moved into place, so a reader or a crash never meets half a row.
    """
    path = Path(path)
    rows = [*_read(path), row]
    columns = list(dict.fromkeys(column for each in rows for column in each))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(aside, path)


def evaluations(path: Path, split: str, test_cfg: dict) -> list[dict[str, str]]:
    """Rows of ``split`` that were made with this post-processing, one for each step, in order of steps.

    Of a step that was evaluated again, as a resumed run does, the later values count. A test with other thresholds may
    have left its row in a training's folder. Raises ``ValueError`` for a row that is cut off.
    """
    wanted, by_step = compact(test_cfg), {}
    for row in _read(path):
        if None in row.values():
            raise ValueError("a row is cut off")
        if row["split"] == split and (row.get("test_cfg") or wanted) == wanted:
            later = {key: value for key, value in row.items() if value}
            by_step[int(row["step"])] = by_step.get(int(row["step"]), {}) | later
    return [by_step[step] for step in sorted(by_step)]


def compact(test_cfg: dict) -> str:
    """Post-processing as one cell."""
    return json.dumps(test_cfg, sort_keys=True, separators=(",", ":"))


def _read(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
