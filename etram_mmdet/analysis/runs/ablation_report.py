"""An ablation as a Markdown table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.analysis.runs.statistics import CONFIDENCE, METRICS, Row
from etram_mmdet.utils.text import markdown_table
from etram_mmdet.visualization.style import ACCENT, GOOD, INK, MUTED, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = dict(
    AP="AP",
    AP50="AP50",
    AP_small_classes="AP, small classes",
    AP_S_network_px="AP, boxes < 32² network px",
)
_PANELS = (("AP", "AP, all classes"), ("AP_small_classes", "AP, small road users"))
_NOT_COMPARED = "#5c6370"


def format_ablation(rows: Sequence[Row]) -> str:
    """Formats an ablation as a Markdown page.

    The page says what was compared, has one line per variant and explains how to read it. Numbers
    are mean ± standard deviation over seeds, in percent.

    Args:
        rows: result of :func:`compare`, the baseline first.
    """
    head = ["variant", "batch", "steps", "samples", "lr", "seeds", *(_TITLES[m] for m in METRICS)]
    head += [f"ΔAP to {rows[0].variant.name} ({CONFIDENCE:.0%} interval)", "significant"]
    table = markdown_table(head, [_cells(row) for row in rows])
    return "\n".join([*_heading(rows), "", table, "", *_notes(rows)]) + "\n"


def _heading(rows: Sequence[Row]) -> list[str]:
    record = next((record for row in rows for record in row.records), None)
    if record is None:
        return ["No run has finished yet."]
    train = record["train_data"]
    val = record["val_data"]
    where = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
    return [
        f"Protocol {record['protocol']}; score threshold {record['test_cfg'].get('score_thr')}.",
        f"Trained on {train['recordings']} recordings ({train['boxes']:,} boxes). Evaluated once, "
        f"after the last step, on {val['recordings']} other recordings "
        f"({val['labelled_frames']:,} frames, {val['boxes']:,} boxes).",
        f"Commit {record['commit'] or 'unknown'}; {where}.",
    ]


def _cells(row: Row) -> list[str]:
    variant = row.variant
    seeds = len(row.records)
    rates = ", ".join(sorted({f"{record['lr']:.3g}" for record in row.records})) or "-"
    cells = [
        variant.name,
        str(variant.batch),
        f"{variant.steps:,}",
        f"{variant.samples:,}",
        rates,
        str(seeds),
    ]
    return [*cells, *(mean_and_spread(row.values[m]) for m in METRICS), *_difference(row)]


def mean_and_spread(values: np.ndarray) -> str:
    """Formats mean ± standard deviation in percent.

    Args:
        values: (n,) numbers from 0 to 1, one per seed. A single one has no standard deviation; none
            give "-".
    """
    if not len(values):
        return "-"
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"


def _difference(row: Row) -> list[str]:
    if row.obstacles:
        return ["not compared", "; ".join(row.obstacles)]
    if row.difference is None:
        return ["", ""]
    d = row.difference
    if np.isnan(d.p):
        return [f"{100 * d.mean:+.1f}", "unknown: AP is the same for all seeds"]
    verdict = "yes" if d.is_significant else "no"
    return [
        f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})",
        f"{verdict} (p {d.p:.2g})",
    ]


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [
        "± is the standard deviation over seeds. Intervals are Welch's, p-values are corrected for "
        "the number of comparisons (Holm). A variant is not compared if data, samples, clip "
        "length, schedule, learning-rate rule, protocol, post-processing, device or commit differ "
        "from the baseline's."
    ]
    return notes + [f"- {row.variant.name}: {row.variant.note}" for row in rows if row.variant.note]


def draw_ablation(rows: Sequence[Row], path: Path) -> None:
    """Draws an ablation as a PNG file: two panels side by side, one line per variant.

    Args:
        rows: result of :func:`compare`, the baseline first. They are drawn from top to bottom.
        path: the PNG file.
    """
    with page(path, 13, 1.9 + 0.46 * len(rows), dpi=110) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, (metric, title) in zip(axes, _PANELS, strict=True):
            _draw_panel(ax, rows, metric)
            ax.set_title(title, loc="left", fontsize=13, weight="bold", color=INK)
            ax.set_xlabel("percent")
        axes[0].set_yticks(range(len(rows)), [row.variant.name for row in rows], color=INK)
        axes[0].invert_yaxis()
        figure.text(0.01, 0.02, _legend(rows), fontsize=9.5, color=MUTED)
        figure.tight_layout(rect=(0, 0.05, 1, 1))


def _draw_panel(ax: Axes, rows: Sequence[Row], metric: str) -> None:
    ax.grid(axis="x")
    if len(rows[0].values[metric]):
        ax.axvline(100 * rows[0].values[metric].mean(), color=MUTED, lw=1, ls="--")
    for y, row in enumerate(rows):
        values = 100 * row.values[metric]
        if len(values):
            ax.plot(
                values, [y] * len(values), "o", ms=6, color=_colour(row, metric), alpha=0.55, mew=0
            )
            ax.plot([values.mean()], [y], "|", ms=20, mew=3, color=_colour(row, metric))


def _colour(row: Row, metric: str) -> str:
    if row.obstacles:
        return _NOT_COMPARED
    tested = metric == METRICS[0] and row.difference is not None and row.difference.is_significant
    return GOOD if tested else ACCENT


def _legend(rows: Sequence[Row]) -> str:
    seeds = max((len(row.records) for row in rows), default=0)
    return (
        f"dot: one of {seeds} seeds   bar: mean   dashed: mean of {rows[0].variant.name}   "
        "green: AP differs significantly   grey: not comparable (see the table)"
    )
