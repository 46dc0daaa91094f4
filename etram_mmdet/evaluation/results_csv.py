"""A table of results that survives interruption."""

from __future__ import annotations

import csv
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


def _read(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
