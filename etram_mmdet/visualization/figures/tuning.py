"""Picture of tuned thresholds: F1 of each class before and after, and the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.evaluation.operating_points.report import numbers
from etram_mmdet.evaluation.operating_points.tuning import Tuned
from etram_mmdet.visualization.style import ACCENT, BAD, GOOD, GRID, INK, MUTED, page, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_tuning(tuned: Tuned, before_thr: float, heading: str, path: Path) -> None:
    """Draw F1 on unseen recordings before and after tuning, and the chosen thresholds.

    Args:
        tuned: result of :func:`tune`.
        before_thr: score threshold before tuning, one for all classes.
        heading: line above the panels.
        path: PNG file to write.

    Raises:
        InputError: the file cannot be written.
    """
    with page(path, 13, 2.2 + 0.5 * len(tuned.points.classes)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_gain(left, tuned, before_thr)
        _draw_thresholds(right, tuned)
        left.set_yticks(range(len(tuned.points.classes)), tuned.points.classes, color=INK)
        left.invert_yaxis()
        for ax in (left, right):
            for drawn in (*ax.lines, *ax.collections):
                drawn.set_clip_on(False)  # a dot at 0 or 1, or in the last row, is drawn whole
        figure.suptitle(heading, x=0.012, y=0.975, ha="left", fontsize=11, color=MUTED)
        figure.tight_layout(rect=(0, 0, 1, 0.96), w_pad=2.5)


def _draw_gain(ax: Axes, tuned: Tuned, before_thr: float) -> None:
    title(ax, f"F1 on unseen {tuned.judged_on}", "")
    before = _f1(tuned.before)
    common = _f1(tuned.common)
    after = _f1(tuned.after)
    rows = np.arange(len(before))
    colours = [GOOD if a >= b else BAD for a, b in zip(after, before, strict=True)]
    ax.hlines(
        rows, np.minimum(before, after), np.maximum(before, after), color=colours, lw=3, alpha=0.6
    )
    ax.plot(before, rows, "o", color=MUTED, ms=8, label=f"before: {before_thr:.2f} for all")
    ax.plot(
        common, rows, "|", color=INK, ms=16, mew=2, label=f"best for all: {tuned.common_thr:.2f}"
    )
    ax.scatter(after, rows, s=90, color=colours, zorder=3, label="tuned")
    ax.set(xlim=(-0.02, 1.02), xlabel="F1 at IoU .5")
    ax.grid(axis="x")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=3, labelcolor=INK)


def _draw_thresholds(ax: Axes, tuned: Tuned) -> None:
    title(ax, "Thresholds", "large: chosen from all frames; small: by each fold")
    sizes = tuned.points.score_thr.shape[1]
    for size, offset in enumerate(np.linspace(-0.2, 0.2, sizes) if sizes > 1 else (0.0,)):
        rows = np.arange(len(tuned.points.classes)) + offset
        ax.hlines(rows, 0, 1, color=GRID, lw=0.8)
        for points in tuned.of_folds:
            ax.plot(points.score_thr[:, size], rows, "o", color=ACCENT, ms=4, alpha=0.5, mew=0)
        ax.plot(tuned.points.score_thr[:, size], rows, "o", color=ACCENT, ms=9)
    borders = ", ".join(f"{border:g}" for border in tuned.points.sides_px)
    ax.set(
        xlim=(-0.02, 1.02),
        xlabel="score threshold" + (f"; sides below and above {borders} px" if borders else ""),
    )


def _f1(counts: Sequence) -> np.ndarray:
    return np.array([numbers(each)[2] for each in counts])
