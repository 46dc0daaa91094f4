"""Several runs in one comparison: a Markdown table, aligned for a terminal, and a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.analysis.runs.agreement import SAMPLES, unequal_conditions, what_differs
from etram_mmdet.analysis.runs.evaluations import Selection
from etram_mmdet.analysis.runs.run import Run
from etram_mmdet.utils.text import MISSING, markdown_table, number, shown
from etram_mmdet.visualization.style import ACCENT, GRID, INK, MUTED, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = dict(
    AP="AP",
    AP50="AP50",
    AP75="AP75",
    AP_small_classes="AP, small classes",
    AP_S_network_px="AP, boxes < 32² network px",
)
_CLAIM = (
    "A single run each cannot show whether a difference is significant. For that, train several "
    "seeds at equal samples with tools/ablate.py."
)
_COLOURS = ("#42a5f5", "#ffca28", "#ec407a", "#66bb6a", "#ab47bc", "#26c6da", "#ff7043", "#d7ccc8")
_MARKERS = "osD^vP*X"
_WIDTH_IN = 12
_LINE_IN = 0.24  # height of a line of text


def format_comparison(runs: Sequence[Run], selection: Selection) -> str:
    """Formats a comparison of runs as a Markdown page, with AP in percent.

    The page says what was measured and what to be careful about. It has one line per run, a table
    of AP per class, and a table of the settings in which the runs differ.

    Args:
        runs: the runs, in the order of the lines.
        selection: which evaluation of each run is compared.
    """
    parts = [
        f"Each run's {selection}; AP in percent, protocol {runs[0].protocol}.",
        caution(runs),
        _CLAIM,
    ]
    parts.append(_overall(runs))
    if rated_classes(runs):
        parts += ["### AP per class", _per_class(runs)]
    return "\n\n".join(filter(None, [*parts, "### What differs", _what_differs(runs)])) + "\n"


def caution(runs: Sequence[Run]) -> str:
    """Returns one sentence if the runs were trained under unequal conditions, else nothing.

    Args:
        runs: the runs.
    """
    unequal = unequal_conditions(runs)
    if not unequal:
        return ""
    what = "samples" if SAMPLES in unequal else "conditions"
    return (
        f"Not at equal {what}: the runs differ in {', '.join(unequal)}, which alone may make the "
        "difference in AP."
    )


def rated_classes(runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns the names of all classes; none if the protocol does not tell classes apart.

    Args:
        runs: the runs; all have the same classes.
    """
    classes = runs[0].classes
    return classes if any(f"AP_{name}" in run.metrics for run in runs for name in classes) else ()


def _overall(runs: Sequence[Run]) -> str:
    metrics = [metric for metric in _TITLES if any(metric in run.metrics for run in runs)]
    rows = []
    for run in runs:
        found = [_percent(run, metric, MISSING) for metric in metrics]
        rows.append([run.name, number(run.step), *found, run.record["seed"], number(run.samples)])
    return markdown_table(
        ["run", "step", *(_TITLES[metric] for metric in metrics), "seed", "samples seen"], rows
    )


def _per_class(runs: Sequence[Run]) -> str:
    classes = rated_classes(runs)
    rows = [
        [run.name, *(_percent(run, f"AP_{name}", "no boxes") for name in classes)] for run in runs
    ]
    return markdown_table(["run", *classes], rows)


def _percent(run: Run, metric: str, missing: str) -> str:
    return number(100 * run.metrics[metric], 1) if metric in run.metrics else missing


def _what_differs(runs: Sequence[Run]) -> str:
    found = what_differs(runs)
    if not set(found) - {"randomness.seed"}:
        same_seed = len({run.record["seed"] for run in runs}) == 1
        return "Nothing, not even the seed." if same_seed else "Nothing but the seed."
    rows = [[setting, *map(shown, values)] for setting, values in found.items()]
    return markdown_table(["setting", *(run.name for run in runs)], rows)


def draw_comparison(runs: Sequence[Run], selection: Selection, path: Path) -> None:
    """Draws a comparison of runs as a PNG file, 1200 px wide.

    A legend with one line per run is at the top, two panels are in the middle, remarks are at the
    bottom.

    Args:
        runs: the runs, in the order of the legend.
        selection: which evaluation of each run is compared.
        path: the PNG file.
    """
    said = f"Each run's {selection}; protocol {runs[0].protocol}"
    lines = [(line, MUTED) for line in textwrap.wrap(said, 165)]
    lines += [(line, ACCENT) for line in textwrap.wrap(caution(runs), 165)]
    above_in = 0.6 + _LINE_IN * len(runs)
    below_in = 0.75 + _LINE_IN * len(lines)
    height_in = above_in + max(4.2, 0.1 * len(runs) * len(rated_classes(runs))) + below_in
    with page(path, _WIDTH_IN, height_in) as figure:
        grid = dict(
            left=0.05,
            right=0.98,
            wspace=0.25,
            bottom=below_in / height_in,
            top=1 - above_in / height_in,
        )
        over_steps, per_class = figure.subplots(1, 2, gridspec_kw=grid)
        _draw_steps(over_steps, runs)
        _draw_classes(per_class, runs)
        figure.legend(handles=over_steps.lines, loc="upper left", labelcolor=INK, fontsize=10.5)
        for k, (line, colour) in enumerate(reversed(lines)):
            figure.text(0.015, (0.1 + _LINE_IN * k) / height_in, line, fontsize=9.5, color=colour)


def _draw_steps(ax: Axes, runs: Sequence[Run]) -> None:
    """Draws one line per run through its evaluations, with a large mark at the compared one."""
    from matplotlib.ticker import MaxNLocator

    for i, run in enumerate(runs):
        percent = [100 * metrics["AP"] for metrics in run.evaluations.values()]
        at = list(run.evaluations).index(run.step)
        label = f"{run.name}   AP {percent[at]:.1f} at step {run.step:,}"
        ax.plot(
            list(run.evaluations), percent, **_look(i), lw=1.6, ms=9, markevery=[at], label=label
        )
    # The limit leaves room for the highest mark.
    ax.set(xlabel="step", ylabel="AP in percent", ylim=(0, 1.08 * ax.get_ylim()[1]))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid()
    ax.set_title(
        "AP over the steps, marked at the compared step",
        loc="left",
        fontsize=13,
        weight="bold",
        color=INK,
    )


def _draw_classes(ax: Axes, runs: Sequence[Run]) -> None:
    """Draws one mark per run and class; runs have the legend's order from top to bottom."""
    classes = rated_classes(runs)
    if not classes:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "this protocol does not tell classes apart", ha="center", color=MUTED)
        return
    for i, run in enumerate(runs):
        shift = (i - (len(runs) - 1) / 2) * 0.8 / len(runs)
        found = [
            (100 * run.metrics[f"AP_{c}"], y + shift)
            for y, c in enumerate(classes)
            if f"AP_{c}" in run.metrics
        ]
        ax.plot(*zip(*found, strict=True), **_look(i), ls="", ms=7, clip_on=False)
    for y, name in enumerate(classes):
        ax.axhline(y + 0.5, color=GRID, lw=1)
        if not any(f"AP_{name}" in run.metrics for run in runs):
            ax.text(
                0.01, y, "no boxes", transform=ax.get_yaxis_transform(), va="center", color=MUTED
            )
    ax.set(xlabel="AP in percent", xlim=(0, None), ylim=(len(classes) - 0.5, -0.5))
    ax.set_yticks(range(len(classes)), classes, color=INK)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_title("AP per class", loc="left", fontsize=13, weight="bold", color=INK)


def _look(index: int) -> dict:
    return dict(color=_COLOURS[index % len(_COLOURS)], marker=_MARKERS[index % len(_MARKERS)])
