"""Panels about sizes and shapes of boxes, in network pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.analysis.dataset import RULES
from etram_mmdet.analysis.dataset.census import Census
from etram_mmdet.analysis.dataset.thresholds import Thresholds
from etram_mmdet.utils.sizes import MEDIUM_PX2, SMALL_PX2
from etram_mmdet.visualization.style import ACCENT, GRID, INK, MUTED, PANEL, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 6000
BANDWIDTH = 0.18  # octaves of area
AREA_KEY = "white: median   dashed: 32², 96²   yellow: derived"


def draw_areas(ax: Axes, census: Census, thresholds: Sequence[Thresholds]) -> None:
    """Draws how the areas of the boxes of each class are distributed.

    Lines mark COCO's borders between sizes and the thresholds of the rules.

    Args:
        ax: matplotlib axes to draw into.
        census: numbers of the data set.
        thresholds: size thresholds of all rules, from :func:`all_thresholds`. An empty list draws
            none.
    """
    boxes = census.boxes()
    octaves = np.log2(np.maximum(boxes.areas_px2, 1))
    low, high = (octaves.min() - 1, octaves.max() + 1) if len(octaves) else (4, 16)
    x = np.linspace(min(low, 6), max(high, 14), 400)
    for label, colour in enumerate(census.colours()):
        _ridge(ax, x, octaves[boxes.labels == label], label, colour)
    ax.set_yticks(range(len(census.classes)), census.classes, fontsize=11.5)
    ax.set_ylim(len(census.classes) - 0.75, -1.05)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    sides = np.arange(np.ceil(x[0] / 2), np.floor(x[-1] / 2) + 1)
    ax.set_xticks(2 * sides, [f"{2**side:.0f}²" for side in sides])
    ax.set(xlim=(x[0], x[-1]), xlabel="area of a box in pixels²")
    ax.grid(axis="x")
    _draw_borders(ax, {t.rule: t for t in thresholds})
    title(ax, "Size of the boxes", AREA_KEY)


def _draw_borders(ax: Axes, thresholds: dict[str, Thresholds]) -> None:
    """Draws lines at COCO's borders and at the thresholds of the rules.

    COCO's borders are dashed, the rule ``classes`` has full lines, and percentiles of all boxes are
    short marks at the bottom.
    """
    for area in (SMALL_PX2, MEDIUM_PX2):
        _mark(ax, area, 1, MUTED, (0, (3, 3)))
    if not thresholds:
        return
    by_class, p25, p30 = (thresholds[rule] for rule in RULES)
    named = sorted(((by_class.small_area, "small_area"), (by_class.medium_area, "medium_area")))
    for (area, name), side in zip(named, ("right", "left"), strict=True):
        _mark(ax, area, 1, ACCENT)
        place = dict(transform=ax.get_xaxis_transform(), ha=side, va="bottom")
        ax.text(np.log2(area), 1.008, name, fontsize=9, color=ACCENT, **place)
    marks = [
        (p25.small_area, "p25", "right"),
        (p30.small_area, "p30", "left"),
        (p30.medium_area, "p70", "left"),
    ]
    for area, name, side in marks:
        _mark(ax, area, 0.035, ACCENT)
        _name_at_foot(ax, area, name, side)


def _mark(ax: Axes, area_px2: float, height: float, colour: str, style="-") -> None:
    ax.axvline(np.log2(area_px2), ymax=height, color=colour, lw=1.4, ls=style, zorder=4)


def _name_at_foot(ax: Axes, area_px2: float, name: str, side: str) -> None:
    """Writes a name next to its mark, on a background so that it can be read on top of lines."""
    at = dict(xy=(np.log2(area_px2), 0), xycoords=ax.get_xaxis_transform())
    offset = dict(xytext=(-4 if side == "right" else 4, 2), textcoords="offset points")
    ground = dict(facecolor=PANEL, lw=0, pad=1)
    ax.annotate(name, **at, **offset, ha=side, fontsize=9, color=ACCENT, bbox=ground, zorder=5)


def _ridge(ax: Axes, x: np.ndarray, octaves: np.ndarray, row: int, colour) -> None:
    """Draws a smoothed histogram on the line ``row`` with its median.

    The histograms of all classes have the same height.
    """
    if not len(octaves):
        ax.text(x[len(x) // 50], row, "no box", va="bottom", fontsize=9, color=MUTED)
        return
    counts, edges = np.histogram(octaves, bins=len(x), range=(x[0], x[-1]))
    centres = (edges[:-1] + edges[1:]) / 2
    kernel = np.exp(-0.5 * ((x[:, None] - centres) / BANDWIDTH) ** 2)
    density = kernel @ counts
    curve = row - 0.92 * density / density.max()
    curve[density < 0.004 * density.max()] = np.nan
    ax.axhline(row, color=GRID, lw=1)
    ax.fill_between(x, curve, row, color=colour, alpha=0.55, lw=0, zorder=2 + row / 50)
    ax.plot(x, curve, color=colour, lw=1.4, zorder=2 + row / 50)
    median = np.median(octaves)
    ax.plot([median] * 2, [row, np.interp(median, x, curve)], color=INK, lw=1.6, zorder=3)


def draw_shapes(ax: Axes, census: Census) -> None:
    """Draws width against height of the boxes; boxes on one falling line have the same area.

    Args:
        ax: matplotlib axes to draw into.
        census: numbers of the data set.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    boxes = census.boxes()
    # Drawn in random order, so that no class hides another.
    shown = np.random.default_rng(0).permutation(len(boxes.labels))[:MOST_POINTS]
    dots = np.array(census.colours())[boxes.labels[shown]]
    ax.scatter(boxes.widths_px[shown], boxes.heights_px[shown], s=10, c=dots, alpha=0.6, lw=0)
    xlim = _limits(boxes.widths_px)
    ylim = _limits(boxes.heights_px)
    for area, name in ((SMALL_PX2, "32²"), (MEDIUM_PX2, "96²")):
        ax.plot(xlim, area / xlim, color=MUTED, lw=1.1, ls=(0, (3, 3)), zorder=0.5)
        if ylim[0] < area / xlim[1] < ylim[1]:
            ax.text(xlim[1], area / xlim[1], f" {name}", va="center", fontsize=9, color=MUTED)
    ax.plot(ylim, ylim, color=MUTED, lw=1.1, zorder=0.5)
    if xlim[0] < ylim[1] < xlim[1]:
        ax.text(ylim[1], ylim[1], "square", ha="center", va="bottom", fontsize=9, color=MUTED)
    ax.set(
        xscale="log",
        yscale="log",
        xlim=xlim,
        ylim=ylim,
        xlabel="width in pixels",
        ylabel="height in pixels",
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(2))
        axis.set_major_formatter("{x:.0f}")
        axis.set_minor_locator(NullLocator())
    title(ax, "Shape of the boxes", _share_drawn(len(shown), len(boxes.labels)))


def _limits(sides_px: np.ndarray) -> np.ndarray:
    """Returns axis limits, a little wider than the range of the sides; works without boxes too."""
    return np.array([min(sides_px, default=4) / 1.15, max(sides_px, default=64) * 1.15])


def _share_drawn(shown: int, of: int) -> str:
    return "" if shown == of else f"{shown:,} of {of:,} boxes drawn"
