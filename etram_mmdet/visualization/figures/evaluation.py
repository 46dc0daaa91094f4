"""Picture of one evaluation: precision and recall, F1, confusion matrix, box sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from etram_mmdet.evaluation.curves import (
    IOU_THR,
    THRESHOLDS,
    Counts,
    best_common_threshold,
    class_counts,
    confusion_matrix,
    recall_by_side,
)
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.matching import Matches, match
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.visualization.style import ACCENT, GRID, INK, MUTED, PANEL, PAPER, page, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from etram_mmdet.visualization.draw import Colour

SIDE_EDGES_PX = 2.0 ** np.arange(1, 10.5, 0.5)
CURVE_THRESHOLDS = np.concatenate([np.geomspace(1e-4, 0.01, 40), THRESHOLDS[2:]])
_MANY = 8  # classes per row of the legend; the confusion matrix of more leaves out absent ones
_SHADES = (PANEL, "#2f6f9f", "#7cc4f0")


class _Class(NamedTuple):
    name: str
    colour: tuple[float, ...]
    counts: Counts
    curve: Counts  # at `CURVE_THRESHOLDS`, which are denser at low scores


def draw_evaluation(
    frames: Sequence[FrameResult] | FrameColumns,
    classes: Sequence[str],
    palette: Sequence[Colour],
    heading: str,
    path: Path,
) -> float:
    """Draw one evaluation and write it as PNG.

    Args:
        frames: evaluated frames, with truth and detections.
        classes: class names by label.
        palette: RGB colours of the classes by label.
        heading: line above the panels.
        path: PNG file to write.

    Returns:
        Score threshold at which confusion matrix and recall by size are shown: the one threshold
        for all classes with the largest mean F1.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.lines import Line2D

    columns = FrameColumns.of(frames)
    matches = match(columns, [IOU_THR])
    counts = class_counts(matches, len(classes), THRESHOLDS)
    curves = class_counts(matches, len(classes), CURVE_THRESHOLDS)
    score_thr = best_common_threshold(counts)
    with_boxes = [
        _Class(name, tuple(value / 255 for value in rgb), of_class, curve)
        for name, rgb, of_class, curve in zip(classes, palette, counts, curves, strict=True)
        if of_class.boxes
    ]
    with page(path, 13, 11.4) as figure:
        (pr, f1), (confusions, sizes) = figure.subplots(2, 2)
        _draw_precision(pr, with_boxes)
        _draw_f1(f1, with_boxes, score_thr)
        _draw_confusions(confusions, confusion_matrix(columns, len(classes), score_thr), classes)
        _draw_sizes(sizes, matches, score_thr)
        figure.suptitle(heading, x=0.012, y=0.99, ha="left", fontsize=10.5, color=MUTED, wrap=True)
        lines = [
            Line2D([], [], color=c.colour, lw=3, label=f"{c.name} {c.counts.boxes}")
            for c in with_boxes
        ]
        where = dict(
            loc="upper left", bbox_to_anchor=(0.006, 0.972), handlelength=1.2, columnspacing=1.4
        )
        figure.legend(handles=lines, labelcolor=INK, ncols=_MANY, **where)
        more_rows = (len(lines) - 1) // _MANY
        figure.tight_layout(rect=(0, 0, 1, 0.955 - 0.02 * more_rows), h_pad=2.5, w_pad=2.5)
    return score_thr


def _draw_precision(ax: Axes, classes: Sequence[_Class]) -> None:
    title(ax, "Precision and recall", "IoU .5")
    for c in classes:
        ax.plot(c.curve.recall, c.curve.precision, color=c.colour, lw=1.8)
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    ax.grid()


def _draw_f1(ax: Axes, classes: Sequence[_Class], score_thr: float) -> None:
    title(ax, "F1 by score threshold", "IoU .5; dots: best of each class")
    for c in classes:
        f1 = c.counts.f_beta()
        ax.plot(THRESHOLDS, f1, color=c.colour, lw=1.4)
        ax.plot(THRESHOLDS[f1.argmax()], f1.max(), "o", color=c.colour, ms=6)
    mean = np.mean([c.counts.f_beta() for c in classes], axis=0)
    ax.plot(
        THRESHOLDS,
        mean,
        color=ACCENT,
        lw=2.6,
        label=f"mean: largest {mean.max():.2f}, at threshold {score_thr:.2f}",
    )
    ax.axvline(score_thr, color=ACCENT, lw=1, ls="--")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="score threshold", ylabel="F1")
    ax.grid()
    ax.legend(loc="upper right", labelcolor=INK)


def _draw_confusions(ax: Axes, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """Confusion matrix, shaded by the share of its row; the last row are all false alarms.

    If there are more than `_MANY` classes, classes without boxes and detections are left out.
    """
    from matplotlib.colors import LinearSegmentedColormap

    if len(classes) > _MANY:
        occurs = (matrix.sum(0) + matrix.sum(1)) > 0
        occurs[-1] = True
        matrix = matrix[occurs][:, occurs]
        classes = [name for name, is_shown in zip(classes, occurs, strict=False) if is_shown]
    font = dict(fontsize=min(10.5, 150 / (len(classes) + 1)))
    title(ax, "Confusion matrix", "counts; shade: share of the row")
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    ax.imshow(
        shares,
        cmap=LinearSegmentedColormap.from_list("shades", _SHADES),
        vmin=0,
        vmax=1,
        aspect="auto",
    )
    places = range(len(classes) + 1)
    ax.set_xticks(
        places, [*classes, "missed"], rotation=35, ha="right", rotation_mode="anchor", **font
    )
    ax.set_yticks(places, [*classes, "no box"], **font)
    ax.set(xlabel="detected", ylabel="true")
    ax.tick_params(length=0)
    for row, column in np.argwhere(matrix > 0):
        colour = PAPER if shares[row, column] > 0.6 else INK
        size = min(9, font["fontsize"])
        ax.text(
            column,
            row,
            f"{matrix[row, column]}",
            ha="center",
            va="center",
            fontsize=size,
            color=colour,
        )
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw_sizes(ax: Axes, matches: Matches, score_thr: float) -> None:
    title(ax, "Boxes and recall by size", "IoU .5")
    boxes, found = recall_by_side(matches, SIDE_EDGES_PX, score_thr)
    _, found_at_all = recall_by_side(matches, SIDE_EDGES_PX, 0.0)
    used = np.flatnonzero(boxes)
    shown = slice(used[0], used[-1] + 1)
    x = np.arange(len(boxes))
    ax.bar(x[shown], boxes[shown], width=0.9, color=GRID, label="boxes")
    ax.set_xticks(
        np.arange(len(SIDE_EDGES_PX))[::2] - 0.5, [f"{edge:.0f}" for edge in SIDE_EDGES_PX[::2]]
    )
    ax.set(
        xlim=(used[0] - 0.7, used[-1] + 0.7),
        xlabel="side of the box in sensor pixels (square root of the area)",
        ylabel="boxes",
    )
    recall = ax.twinx()
    recall.spines[["top", "left"]].set_visible(False)
    for values, style, text in (
        (found_at_all, "--", "recall, all scores"),
        (found, "-", f"recall, scores of at least {score_thr:.2f}"),
    ):
        rate = values[used] / boxes[used]
        recall.plot(used, rate, style, color=ACCENT, marker="o", ms=4, label=text)
    recall.set(ylim=(0, 1.02), ylabel="recall")
    handles = [*ax.get_legend_handles_labels()[0], *recall.get_legend_handles_labels()[0]]
    above = dict(
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.985),
        ncols=3,
        columnspacing=1.2,
        handlelength=1.4,
    )
    recall.legend(handles=handles, labelcolor=INK, fontsize=9, **above)
