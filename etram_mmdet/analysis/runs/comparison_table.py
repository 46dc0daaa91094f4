"""Runs beside each other as Markdown whose columns line up in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from etram_mmdet.analysis.runs.agreement import SAMPLES, SEED, shown, unequal_conditions, what_differs
from etram_mmdet.analysis.runs.evaluations import Selection
from etram_mmdet.analysis.runs.run import Run

_TITLES = dict(AP="AP", AP50="AP50", AP75="AP75", AP_small_classes="AP, small classes", AP_S="AP, boxes < 32² px")
_CLAIM = (
    "With a single run each no significance can be told; for a claim train several seeds at equal samples with "
    "tools/ablate.py."
)
_WIDEST = 60  # characters; longer cells stand out of their column instead of widening it


def format_comparison(runs: Sequence[Run], selection: Selection) -> str:
    """What was measured and what to mind, a line per run, AP per class, and what differs; AP in percent."""
    parts = [f"Each run's {selection}; AP in percent, protocol {runs[0].protocol}.", caution(runs), _CLAIM]
    parts.append(_overall(runs))
    if rated_classes(runs):
        parts += ["### AP per class", _per_class(runs)]
    return "\n\n".join(filter(None, [*parts, "### What differs", _what_differs(runs)])) + "\n"


def caution(runs: Sequence[Run]) -> str:
    """One sentence where the runs were not trained under equal conditions, else nothing."""
    unequal = unequal_conditions(runs)
    if not unequal:
        return ""
    what = "samples" if SAMPLES in unequal else "conditions"
    return f"Not at equal {what}: the runs differ in {', '.join(unequal)}, which alone may make the difference in AP."


def rated_classes(runs: Sequence[Run]) -> tuple[str, ...]:
    """All classes of the data; none under a protocol that does not tell classes apart."""
    classes = runs[0].classes
    return classes if any(f"AP_{name}" in run.metrics for run in runs for name in classes) else ()


def _overall(runs: Sequence[Run]) -> str:
    metrics = [metric for metric in _TITLES if any(metric in run.metrics for run in runs)]
    rows = [
        [
            *(run.name, f"{run.step:,}"),
            *(_percent(run, metric, "-") for metric in metrics),
            *(str(run.record["seed"]), f"{run.samples:,}"),
        ]
        for run in runs
    ]
    return _table(["run", "step", *(_TITLES[metric] for metric in metrics), "seed", "samples seen"], rows)


def _per_class(runs: Sequence[Run]) -> str:
    classes = rated_classes(runs)
    rows = [[run.name, *(_percent(run, f"AP_{name}", "no boxes") for name in classes)] for run in runs]
    return _table(["run", *classes], rows)


def _percent(run: Run, metric: str, missing: str) -> str:
    return f"{100 * run.metrics[metric]:.1f}" if metric in run.metrics else missing


def _what_differs(runs: Sequence[Run]) -> str:
    found = what_differs(runs)
    if not set(found) - {SEED}:
        same_seed = len({run.record["seed"] for run in runs}) == 1
        return "Nothing, not even the seed." if same_seed else "Nothing but the seed."
    rows = [[setting, *map(shown, values)] for setting, values in found.items()]
    return _table(["setting", *(run.name for run in runs)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*cells, strict=True)]
    lines = [
        " | ".join(map(str.ljust, row, widths)) for row in (cells[0], ["-" * width for width in widths], *cells[1:])
    ]
    return "\n".join(f"| {line} |" for line in lines)
