"""Runs beside each other as a picture: AP over the steps, and AP per class where they are compared."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from etram_mmdet.analysis.runs.comparison_table import caution, rated_classes
from etram_mmdet.analysis.runs.evaluations import Selection
from etram_mmdet.analysis.runs.run import Run
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.visualization.style import ACCENT, GRID, INK, MUTED, PAPER, STYLE

_COLOURS = ("#42a5f5", "#ffca28", "#ec407a", "#66bb6a", "#ab47bc", "#26c6da", "#ff7043", "#d7ccc8")
_MARKERS = "osD^vP*X"
_WIDTH_IN, _DPI, _LINE_IN = 12, 100, 0.24  # _LINE_IN: one line of text


def draw_comparison(runs: Sequence[Run], selection: Selection, path: Path) -> None:
    """Write the picture as PNG, 1200 px wide: a legend with a line per run above two panels, remarks below."""
    remarks = [f"Each run's {selection}; protocol {runs[0].protocol}", caution(runs)]
    lines = [
        (line, colour) for r, colour in zip(remarks, (MUTED, ACCENT), strict=True) for line in textwrap.wrap(r, 165)
    ]
    above_in, below_in = 0.6 + _LINE_IN * len(runs), 0.75 + _LINE_IN * len(lines)
    height_in = above_in + max(4.2, 0.1 * len(runs) * len(rated_classes(runs))) + below_in
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor=PAPER)
        grid = dict(left=0.05, right=0.98, wspace=0.25, bottom=below_in / height_in, top=1 - above_in / height_in)
        over_steps, per_class = figure.subplots(1, 2, gridspec_kw=grid)
        _draw_steps(over_steps, runs)
        _draw_classes(per_class, runs)
        figure.legend(handles=over_steps.lines, loc="upper left", labelcolor=INK, fontsize=10.5)
        for k, (line, colour) in enumerate(reversed(lines)):
            figure.text(0.015, (0.1 + _LINE_IN * k) / height_in, line, fontsize=9.5, color=colour)
        with atomic_write(path) as aside:
            figure.savefig(aside, facecolor=PAPER, format="png")


def _draw_steps(ax: Axes, runs: Sequence[Run]) -> None:
    """A line per run through its evaluations, the compared one large."""
    for i, run in enumerate(runs):
        percent = [100 * metrics["AP"] for metrics in run.evaluations.values()]
        at = list(run.evaluations).index(run.step)
        label = f"{run.name}   AP {percent[at]:.1f} at step {run.step:,}"
        ax.plot(list(run.evaluations), percent, **_look(i), lw=1.6, ms=9, markevery=[at], label=label)
    ax.set(xlabel="step", ylabel="AP in percent", ylim=(0, 1.08 * ax.get_ylim()[1]))  # room for the highest mark
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid()
    ax.set_title("AP over the steps, a mark where compared", loc="left", fontsize=13, weight="bold", color=INK)


def _draw_classes(ax: Axes, runs: Sequence[Run]) -> None:
    """A mark per run and class, runs in the legend's order from top to bottom."""
    classes = rated_classes(runs)
    if not classes:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "this protocol does not tell classes apart", ha="center", color=MUTED)
        return
    for i, run in enumerate(runs):
        shift = (i - (len(runs) - 1) / 2) * 0.8 / len(runs)
        found = [(100 * run.metrics[f"AP_{c}"], y + shift) for y, c in enumerate(classes) if f"AP_{c}" in run.metrics]
        ax.plot(*zip(*found, strict=True), **_look(i), ls="", ms=7, clip_on=False)
    for y, name in enumerate(classes):
        ax.axhline(y + 0.5, color=GRID, lw=1)
        if not any(f"AP_{name}" in run.metrics for run in runs):
            ax.text(0.01, y, "no boxes", transform=ax.get_yaxis_transform(), va="center", color=MUTED)
    ax.set(xlabel="AP in percent", xlim=(0, None), ylim=(len(classes) - 0.5, -0.5))
    ax.set_yticks(range(len(classes)), classes, color=INK)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_title("AP per class", loc="left", fontsize=13, weight="bold", color=INK)


def _look(index: int) -> dict:
    return dict(color=_COLOURS[index % len(_COLOURS)], marker=_MARKERS[index % len(_MARKERS)])
