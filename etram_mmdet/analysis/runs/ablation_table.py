"""An ablation as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etram_mmdet.analysis.runs.statistics import CONFIDENCE, METRICS, Row

_TITLES = dict(AP="AP", AP50="AP50", AP_small_classes="AP, small classes", AP_S="AP, boxes < 32² px")


def format_table(rows: Sequence[Row]) -> str:
    """What was compared, a line per variant (mean ± standard deviation over seeds, in percent), and how to read it."""
    head = ["variant", "batch", "steps", "samples", "lr", "seeds", *(_TITLES[m] for m in METRICS)]
    head += [f"ΔAP to {rows[0].variant.name} ({CONFIDENCE:.0%} interval)", "significant"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *map(_cells, rows))]
    return "\n".join([*_heading(rows), "", *lines, "", *_notes(rows)]) + "\n"


def _heading(rows: Sequence[Row]) -> list[str]:
    record = next((record for row in rows for record in row.records), None)
    if record is None:
        return ["No run has finished yet."]
    train, val = record["train_data"], record["val_data"]
    where = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
    return [
        f"Protocol {record['protocol']}; score threshold {record['test_cfg'].get('score_thr')}.",
        f"Trained on {train['recordings']} recordings ({train['boxes']:,} boxes), evaluated on {val['recordings']} "
        f"others ({val['labelled_frames']:,} frames, {val['boxes']:,} boxes) after the last step, once.",
        f"Commit {record['commit'] or 'unknown'}; {where}.",
    ]


def _cells(row: Row) -> list[str]:
    variant, seeds = row.variant, len(row.records)
    rates = ", ".join(sorted({f"{record['lr']:.3g}" for record in row.records})) or "-"
    cells = [variant.name, str(variant.batch), f"{variant.steps:,}", f"{variant.samples:,}", rates, str(seeds)]
    return [*cells, *(mean_and_spread(row.values[m]) for m in METRICS), *_difference(row)]


def mean_and_spread(values: np.ndarray) -> str:
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
    verdict = "yes" if d.is_significant else "no"
    return [f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})", f"{verdict} (p {d.p:.2g})"]


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [
        "± is the standard deviation over seeds; intervals are Welch's, p-values corrected for the number of "
        "comparisons (Holm). A variant is not compared where data, samples, clip length, schedule, "
        "learning-rate rule, protocol, post-processing, device or commit differ."
    ]
    return notes + [f"- {row.variant.name}: {row.variant.note}" for row in rows if row.variant.note]
