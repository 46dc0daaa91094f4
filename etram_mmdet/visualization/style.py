"""How the panels of the page look."""

from __future__ import annotations

from matplotlib.axes import Axes

PAPER, PANEL, INK, MUTED, GRID = "#2b2e36", "#24272e", "#e6e9ee", "#9aa3b0", "#3c414b"
ACCENT = "#ffe9a8"
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


def title(ax: Axes, text: str, remark: str = "") -> None:
    ax.set_title(text, loc="left", fontsize=13, weight="bold", pad=27, color=INK)
    ax.set_title(remark, loc="right", fontsize=9.5, pad=27, color=MUTED)
