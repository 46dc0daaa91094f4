"""A picture of a data set: number, sizes and shapes of boxes, and event rates of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.analysis.dataset.census import Census
from etram_mmdet.analysis.dataset.size_panels import draw_areas, draw_shapes
from etram_mmdet.analysis.dataset.thresholds import Thresholds
from etram_mmdet.visualization.style import GRID, INK, LEGEND, MUTED, PANEL, page, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPACITY = {"train": 1.0, "val": 0.62, "test": 0.34}
# Number of boxes at which the log axis begins, so that a single box has a bar.
LEAST_SHOWN = 0.7
# Events per second at which the axis begins to count millions.
LEAST_MILLIONS = 1e5
UNKNOWN_RATES = "unknown: the folders do not hold event counts,\nor the events were not read"


def draw_census(census: Census, thresholds: Sequence[Thresholds], path: Path) -> None:
    """Writes the picture of a data set as a PNG file.

    Args:
        census: numbers of the data set.
        thresholds: size thresholds of all rules, from :func:`all_thresholds`. An empty list draws
            none.
        path: the PNG file.
    """
    with page(path, 15, 11, dpi=110) as figure:
        grid = figure.add_gridspec(
            2,
            2,
            left=0.085,
            right=0.97,
            top=0.86,
            bottom=0.065,
            wspace=0.19,
            hspace=0.33,
            height_ratios=(1.2, 1),
        )
        draw_counts(figure.add_subplot(grid[0, 0]), census)
        draw_areas(figure.add_subplot(grid[0, 1]), census, thresholds)
        draw_shapes(figure.add_subplot(grid[1, 0]), census)
        draw_rates(figure.add_subplot(grid[1, 1]), census)
        figure.text(0.024, 0.955, str(census.data_root), fontsize=19, weight="bold", color=INK)
        figure.text(0.024, 0.929, _summary(census), fontsize=11.5, color=MUTED)


def _summary(census: Census) -> str:
    lights = census.lights()
    seconds = census.total("duration_s")
    events = census.total("num_events")
    of_splits = ", ".join(f"{len(census.of(split))} {split}" for split in census.splits)
    parts = [
        f"{len(census.recordings)} recordings ({of_splits})",
        ", ".join(f"{lights[light]} by {light}" for light in ("day", "night") if lights[light]),
        "" if seconds is None else _duration(seconds),
        "" if events is None else f"{events / 1e6:,.1f} million events",
        f"{sum(len(r.label_us) for r in census.recordings):,} labelled frames",
        f"{len(census.boxes().labels):,} boxes of {len(census.classes)} classes",
    ]
    return "   ·   ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"


def draw_counts(ax: Axes, census: Census) -> None:
    """Draws the number of boxes of each class and split on a log axis.

    Each bar has its number beside it. A class without boxes has no bar.

    Args:
        ax: matplotlib axes to draw into.
        census: numbers of the data set.
    """
    from matplotlib.ticker import NullLocator

    most = max(
        np.bincount(census.boxes(split).labels, minlength=1).max() for split in census.splits
    )
    # The exponent leaves room for the number at the longest bar.
    ax.set(xscale="log", xlim=(LEAST_SHOWN, max(most, 10) ** 1.1))
    height = 0.84 / len(census.splits)
    for k, split in enumerate(census.splits):
        counts = np.bincount(census.boxes(split).labels, minlength=len(census.classes))
        y = np.arange(len(counts)) + (k - (len(census.splits) - 1) / 2) * height
        ax.barh(y, counts, height * 0.86, color=census.colours(), alpha=OPACITY[split])
        for position, count in zip(y, counts, strict=True):
            at = dict(
                xy=(max(count, LEAST_SHOWN), position), xytext=(4, 0), textcoords="offset points"
            )
            ax.annotate(f"{count:,}", **at, va="center", fontsize=8.5)
        ax.barh(0, 0, color=INK, alpha=OPACITY[split], label=split)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(len(census.classes)), census.classes, fontsize=11.5)
    ax.set_ylim(len(census.classes) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.grid(axis="x")
    ax.legend(**LEGEND, ncols=3, handlelength=1.2, columnspacing=1.4)
    title(ax, "Boxes per class and split")


def draw_rates(ax: Axes, census: Census) -> None:
    """Draws the mean event rate of every recording, sorted by split.

    Filled circles are recordings by day, open circles those by night.

    Args:
        ax: matplotlib axes to draw into.
        census: numbers of the data set.
    """
    from matplotlib.lines import Line2D

    title(ax, "Events per second of each recording")
    rates = np.array(
        [np.nan if r.events_per_s is None else r.events_per_s for r in census.recordings]
    )
    if np.isnan(rates).all():
        ax.set_axis_off()
        ax.text(
            0.5, 0.5, UNKNOWN_RATES, transform=ax.transAxes, ha="center", va="center", color=MUTED
        )
        return
    unit, name = (1e6, "million events") if np.nanmax(rates) >= LEAST_MILLIONS else (1, "events")
    rates = rates / unit
    position = 0
    for split in census.splits:
        of_split = [
            (r, v) for r, v in zip(census.recordings, rates, strict=True) if r.split == split
        ]
        x = position + np.arange(len(of_split))
        values = np.array([v for _, v in of_split])
        faces = [PANEL if r.light == "night" else INK for r, _ in of_split]
        ax.vlines(x, 0, values, color=GRID, lw=2)
        ax.scatter(x, values, s=34, c=faces, edgecolors=INK, lw=1.4, zorder=3)
        ax.text(
            x.mean(),
            -0.02,
            split,
            transform=ax.get_xaxis_transform(),
            ha="center",
            va="top",
            color=INK,
        )
        position = x[-1] + 3
    ax.set(
        xlim=(-1.5, position - 1.5), ylim=(0, np.nanmax(rates) * 1.12), ylabel=f"{name} per second"
    )
    ax.set_xticks([])
    ax.grid(axis="y")
    lights = [
        (light, face) for light, face in (("day", INK), ("night", PANEL)) if census.lights()[light]
    ]
    dot = dict(xdata=[], ydata=[], ls="", marker="o", markeredgecolor=INK)
    handles = [Line2D(**dot, markerfacecolor=face, label=light) for light, face in lights]
    if handles:
        ax.legend(handles=handles, **LEGEND, ncols=2, handletextpad=0.2, columnspacing=1.2)
