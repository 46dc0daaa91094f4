"""Picture of a training run: losses over all steps, and AP at each validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.visualization.style import ACCENT, INK, page, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Sums = tuple[np.ndarray, np.ndarray]  # (N,) sums of a loss, (N,) steps that each sum covers
POINTS = 300  # most points of a loss curve; each is a mean over the steps since the one before
_LEGEND = dict(
    loc="lower left",
    bbox_to_anchor=(-0.01, 0.99),
    labelcolor=INK,
    handlelength=1.2,
    columnspacing=1.4,
)
_AP_LINES = (("AP", ACCENT), ("AP50", "#7cc4f0"), ("AP_small_classes", "#ff8a65"))


def draw_training(
    losses: Mapping[str, Sums],
    rows: Sequence[dict[str, str]],
    protocol: str,
    heading: str,
    path: Path,
) -> None:
    """Draw the losses and validations of a training and write them as PNG.

    Args:
        losses: for each loss by name, N sums in order of steps and the number of steps that each
            sum covers.
        rows: validations in order of steps, as rows of results.csv. If there are none, only the
            losses are drawn.
        protocol: name of the protocol whose AP is drawn.
        heading: line above the panels.
        path: PNG file to write.

    Raises:
        InputError: the file cannot be written.
    """
    panels = 2 if rows else 1
    with page(path, 6.5 * panels, 5.2) as figure:
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _draw_losses(axes[0], losses)
        if rows:
            _draw_ap(axes[1], rows, protocol)
        figure.suptitle(heading, x=0.012, y=0.975, ha="left", fontsize=12)
        figure.tight_layout(rect=(0, 0, 1, 0.96), w_pad=2.5)


def _draw_losses(ax: Axes, losses: Mapping[str, Sums]) -> None:
    title(ax, "Losses", "logarithmic scale")
    for name, sums in sorted(losses.items(), key=lambda item: item[0] != "loss"):
        steps, means = smoothed(*sums)
        is_sum = name == "loss"
        ax.plot(
            steps, means, lw=2.4 if is_sum else 1.4, color=ACCENT if is_sum else None, label=name
        )
    ax.set(xlabel="step", yscale="log")
    ax.grid()
    if losses:
        ax.legend(ncols=5, **_LEGEND)


def _draw_ap(ax: Axes, rows: Sequence[dict[str, str]], protocol: str) -> None:
    from matplotlib.ticker import MaxNLocator

    title(ax, f"AP at each validation, protocol {protocol}", "")
    steps = np.array([int(row["step"]) for row in rows])
    columns = {
        key: _column(rows, f"{protocol}/{key}")
        for key in ("AP_low", "AP_high", *(k for k, _ in _AP_LINES))
    }
    known = np.isfinite(columns["AP_low"]) & np.isfinite(columns["AP_high"])
    has_band = (known[1:] & known[:-1]).any()  # one validation alone has no width to fill
    if has_band:
        ax.fill_between(
            steps, columns["AP_low"], columns["AP_high"], color=ACCENT, alpha=0.15, lw=0
        )
    for key, colour in _AP_LINES:
        if not np.isnan(columns[key]).all():
            ax.plot(
                steps,
                columns[key],
                "o-",
                color=colour,
                lw=2,
                ms=5,
                label=f"{key} {columns[key][-1]:.4f}",
            )
    band = " (band: 95 % confidence interval for other recordings)" if has_band else ""
    ax.set(xlabel=f"step{band}", ylim=(0, None))
    ax.grid()
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if ax.get_legend_handles_labels()[0]:
        ax.legend(ncols=3, **_LEGEND)


def smoothed(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average a loss over equal parts of the training, at most `POINTS` of them.

    Args:
        sums: (N,) sums of the loss, in order of steps.
        counts: (N,) number of steps that each sum covers.

    Returns:
        Last step of each part (M,), and mean loss per step in it (M,).
    """
    ends = np.cumsum(counts)
    borders = np.linspace(0, ends[-1], min(POINTS, int(ends[-1])) + 1)
    # number of sums before each border
    stops = np.unique(np.searchsorted(ends, borders, side="right"))
    starts = np.unique([0, *stops[:-1]])
    stops = stops[stops > 0]
    means = np.add.reduceat(sums, starts) / np.add.reduceat(counts, starts)
    return ends[stops - 1], means


def _column(rows: Sequence[dict[str, str]], key: str) -> np.ndarray:
    return np.array([float(row.get(key) or "nan") for row in rows])
