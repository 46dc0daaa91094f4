"""Colours, style and PNG output of the matplotlib figures; matplotlib is loaded on first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = "#2b2e36"
PANEL = "#24272e"
INK = "#e6e9ee"
MUTED = "#9aa3b0"
GRID = "#3c414b"
ACCENT = "#ffe9a8"
GOOD = "#66bb6a"
BAD = "#ef5350"
STYLE = {
    "font.size": 10.5,
    "text.color": INK,
    "axes.facecolor": PANEL,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "legend.frameon": False,
}
LEGEND = dict(loc="lower right", bbox_to_anchor=(1.0, 1.075), borderpad=0, borderaxespad=0)


@contextmanager
def page(path: Path, width_in: float, height_in: float, dpi: int = 100) -> Iterator[Figure]:
    """Open a figure to draw on; it is saved as PNG at the end of the ``with`` block.

    Args:
        path: PNG file to write.
        width_in: width in inches.
        height_in: height in inches.
        dpi: pixels per inch. Default: 100.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), dpi=dpi, facecolor=PAPER)
        yield figure
        with atomic_write(path) as aside:
            figure.savefig(aside, facecolor=PAPER, format="png")


def title(ax: Axes, text: str, remark: str = "") -> None:
    """Write a panel's title above its left end, and a remark above its right end.

    Args:
        ax: axes of the panel.
        text: title.
        remark: remark in a smaller font. Default: none.
    """
    ax.set_title(text, loc="left", fontsize=13, weight="bold", pad=27, color=INK)
    ax.set_title(remark, loc="right", fontsize=9.5, pad=27, color=MUTED)
