"""The results of the GPU check as lines for a terminal and as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from etram_mmdet.analysis.speed.gpu_check.parts import PARTS
from etram_mmdet.analysis.speed.gpu_check.result import PASSED, Result, log_file, read_result
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.utils.text import markdown_table, table

REPORT_FILE = "report.md"


def outcome(result: Result | None) -> str:
    """Returns the figures of a part in one line, or the reason why it failed.

    Args:
        result: result of the part; ``None`` if it was not started.
    """
    if result is None:
        return "not started"
    if result.status != PASSED:
        last = result.error[-1:] or ["the log is empty"]
        return f"{len(result.rows)} rows before that; {last[0]}"
    return "; ".join(
        row_text(rows[0]) if len(rows) == 1 else f"{len(rows)} rows" for rows in _alike(result.rows)
    )


def row_text(row: dict) -> str:
    """Returns one row of figures as text.

    Args:
        row: figures by name.
    """
    return ", ".join(f"{key} {_cell(value)}" for key, value in row.items())


def summary(results: dict[str, Result | None]) -> str:
    """Returns one line per part, for a terminal.

    Args:
        results: result of each part by name; ``None`` if it was not started.
    """
    rows = [
        [
            name,
            result.status if result else None,
            f"{result.seconds if result else 0:.0f} s",
            outcome(result),
        ]
        for name, result in results.items()
    ]
    return table(rows, left=(0, 1, 3))


def write_report(folder: Path, device: str, size: str) -> Path:
    """Writes report.md with all results of one device and size, and returns its path.

    The page can be pasted into docs/benchmarks.md.

    Args:
        folder: folder of the results.
        device: "cuda" or "cpu"; results of the other device are left out.
        size: name of a size; results of other sizes are left out.
    """
    found = [read_result(folder, name) for name in PARTS]
    results = [
        result for result in found if result and (result.device, result.size) == (device, size)
    ]
    sections = [_heading(results), *(_section(result) for result in results)]
    with atomic_write(folder / REPORT_FILE) as aside:
        aside.write_text("\n".join(sections))
    return folder / REPORT_FILE


def _heading(results: list[Result]) -> str:
    machines = {
        ", ".join(f"{key} {value}" for key, value in r.machine.items()): None
        for r in results
        if r.machine
    }
    rows = [
        dict(
            part=r.part,
            status=r.status,
            seconds=round(r.seconds),
            started=r.started,
            commit=r.commit,
        )
        for r in results
    ]
    sizes = " and ".join({result.size: None for result in results})
    title = f"## Measured by `tools/gpu_check.py`, {sizes} size"
    return "\n\n".join([title, *(f"On: {machine}." for machine in machines), _table(rows)])


def _section(result: Result) -> str:
    parts = [f"### {PARTS[result.part].title}", *(_table(rows) for rows in _alike(result.rows))]
    if result.status != PASSED:
        parts += [f"**{result.status}**; the end of `{log_file(Path(), result.part)}`:"]
        parts += ["\n".join(f"    {line}" for line in result.error)]
    return "\n" + "\n\n".join(parts) + "\n"


def _alike(rows: Iterable[dict]) -> list[list[dict]]:
    """Groups rows that have the same columns."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.values())


def _table(rows: list[dict]) -> str:
    head = [key.replace("_", " ") for key in rows[0]]
    return markdown_table(head, [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
