"""A data set on one page: how many boxes, how large, of what shape, and how busy the recordings are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from etram_mmdet.analysis.dataset.census import Census
from etram_mmdet.analysis.dataset.panels import draw_counts, draw_rates
from etram_mmdet.analysis.dataset.size_panels import draw_areas, draw_shapes
from etram_mmdet.analysis.dataset.thresholds import Thresholds
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.visualization.style import INK, MUTED, PAPER, STYLE


def draw_census(census: Census, thresholds: Sequence[Thresholds], path: Path) -> None:
    """Write the picture as PNG; ``thresholds`` as :func:`all_thresholds` gives them, or none."""
    with rc_context(STYLE):
        figure = Figure(figsize=(15, 11), dpi=110, facecolor=PAPER)
        grid = figure.add_gridspec(
            2, 2, left=0.085, right=0.97, top=0.86, bottom=0.065, wspace=0.19, hspace=0.33, height_ratios=(1.2, 1)
        )
        draw_counts(figure.add_subplot(grid[0, 0]), census)
        draw_areas(figure.add_subplot(grid[0, 1]), census, thresholds)
        draw_shapes(figure.add_subplot(grid[1, 0]), census)
        draw_rates(figure.add_subplot(grid[1, 1]), census)
        figure.text(0.024, 0.955, str(census.data_root), fontsize=19, weight="bold", color=INK)
        figure.text(0.024, 0.929, _summary(census), fontsize=11.5, color=MUTED)
        with atomic_write(path) as aside:
            figure.savefig(aside, facecolor=PAPER)


def _summary(census: Census) -> str:
    lights, seconds, events = census.lights(), census.total("duration_s"), census.total("num_events")
    parts = [
        f"{len(census.recordings)} recordings ({', '.join(f'{len(census.of(s))} {s}' for s in census.splits)})",
        ", ".join(f"{lights[light]} by {light}" for light in ("day", "night") if lights[light]),
        "" if seconds is None else _duration(seconds),
        "" if events is None else f"{events / 1e6:,.1f} million events",
        f"{sum(len(r.label_us) for r in census.recordings):,} labelled frames",
        f"{len(census.boxes().labels):,} boxes of {len(census.classes)} classes",
    ]
    return "   ·   ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
