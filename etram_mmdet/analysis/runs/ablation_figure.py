"""An ablation as a picture: every seed a dot, every variant a mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from etram_mmdet.analysis.runs.statistics import METRICS, Row
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.visualization.style import ACCENT, INK, MUTED, PAPER, STYLE

_PANELS = (("AP", "AP, all classes"), ("AP_small_classes", "AP, small road users"))
_SIGNIFICANT, _NOT_COMPARED = "#66bb6a", "#5c6370"


def draw_ablation(rows: Sequence[Row], path: Path) -> None:
    """Two panels side by side, one line per variant from top to bottom."""
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 1.9 + 0.46 * len(rows)), dpi=110, facecolor=PAPER)
        axes = figure.subplots(1, 2, sharey=True)
        for ax, (metric, title) in zip(axes, _PANELS, strict=True):
            _draw_panel(ax, rows, metric)
            ax.set_title(title, loc="left", fontsize=13, weight="bold", color=INK)
            ax.set_xlabel("percent")
        axes[0].set_yticks(range(len(rows)), [row.variant.name for row in rows], color=INK)
        axes[0].invert_yaxis()
        figure.text(0.01, 0.02, _legend(rows), fontsize=9.5, color=MUTED)
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        with atomic_write(path) as aside:
            figure.savefig(aside, facecolor=PAPER, format="png")


def _draw_panel(ax: Axes, rows: Sequence[Row], metric: str) -> None:
    ax.grid(axis="x")
    if len(rows[0].values[metric]):
        ax.axvline(100 * rows[0].values[metric].mean(), color=MUTED, lw=1, ls="--")
    for y, row in enumerate(rows):
        values = 100 * row.values[metric]
        if len(values):
            ax.plot(values, [y] * len(values), "o", ms=6, color=_colour(row, metric), alpha=0.55, mew=0)
            ax.plot([values.mean()], [y], "|", ms=20, mew=3, color=_colour(row, metric))


def _colour(row: Row, metric: str) -> str:
    if row.obstacles:
        return _NOT_COMPARED
    tested = metric == METRICS[0] and row.difference is not None and row.difference.is_significant
    return _SIGNIFICANT if tested else ACCENT


def _legend(rows: Sequence[Row]) -> str:
    seeds = max((len(row.records) for row in rows), default=0)
    return (
        f"dot: one of {seeds} seeds   bar: mean   dashed: {rows[0].variant.name}   green: AP differs significantly   "
        "grey: not comparable (see the table)"
    )
