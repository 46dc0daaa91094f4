"""The numbers of a data set as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etram_mmdet.analysis.dataset.census import BoxSizes, Census
from etram_mmdet.analysis.dataset.thresholds import Thresholds

UNKNOWN = "-"


def tables(census: Census) -> str:
    """Splits, classes and size mix, each under a line that says what it shows."""
    return "\n\n".join((_splits(census), _classes(census), _size_mix(census)))


def threshold_table(thresholds: Sequence[Thresholds]) -> str:
    """What every rule gives, with a note under it where a rule could not be followed."""
    rows = [
        [t.rule, f"{t.small_area:.1f}", f"{t.medium_area:.1f}", f"{t.size_weight:.2f}", _percent(t.weighted_share)]
        for t in thresholds
    ]
    head = ["rule", "small_area px²", "medium_area px²", "size_weight", "training boxes with weight > 1"]
    notes = [f"{t.rule}: {note}" for t in thresholds for note in t.notes]
    return "\n".join([_table("size thresholds for the loss, from the training boxes", head, rows), *notes])


def _splits(census: Census) -> str:
    head = "split recordings day night seconds events Mev/s out-of-frame frames frames/s boxes dropped".split()
    rows = []
    for split in census.splits:
        seconds, lights = census.total("duration_s", split), census.lights(split)
        numbers = (
            None if seconds is None else f"{seconds:,.1f}",
            _count(census.total("num_events", split)),
            _decimals(census.events_per_s(split), 1e-6),
            _count(census.total("events_out_of_frame", split)),
            _count(sum(len(r.label_us) for r in census.of(split))),
            _decimals(census.labels_per_s(split)),
            _count(len(census.boxes(split).labels)),
            _percent(census.dropped_share(split)),
        )
        rows.append([split, len(census.of(split)), lights["day"], lights["night"], *numbers])
    title = f"{census.data_root}: recordings; labelled frames in use; boxes dropped by a rule"
    return _table(title, head, rows)


def _classes(census: Census) -> str:
    head = ["class", *census.splits, "width px", "height px", "area px²"]
    rows, of_split, of_all = [], [census.boxes(split) for split in census.splits], census.boxes()
    for label, name in enumerate(census.classes):
        counts = [_count(len(boxes.of_class(label).labels)) for boxes in of_split]
        rows.append([name, *counts, *_spans(of_all.of_class(label))])
    totals = [_count(len(boxes.labels)) for boxes in of_split]
    rows.append(["all", *totals, *_spans(of_all)])
    return _table("boxes; 5 %, 50 % and 95 % of them are smaller than (network pixels)", head, rows)


def _spans(boxes: BoxSizes) -> list[str | None]:
    if not len(boxes.labels):
        return [None] * 3
    columns = (boxes.widths_px, boxes.heights_px, boxes.areas_px2)
    return [" ".join(f"{value:5.0f}" for value in np.percentile(column, (5, 50, 95))) for column in columns]


def _size_mix(census: Census) -> str:
    rows = [[split, *map(_percent, census.boxes(split).size_mix())] for split in census.splits]
    return _table("size mix of the boxes (network pixels)", ["split", "< 32²", "< 96²", "larger"], rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Columns as wide as they must be: the first flush left, the others flush right."""
    cells = [[UNKNOWN if cell is None else str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
    return "\n".join([title, *lines])


def _count(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"


def _decimals(number: float | None, unit: float = 1) -> str | None:
    return None if number is None else f"{number * unit:.2f}"


def _percent(share: float | None) -> str | None:
    return None if share is None or np.isnan(share) else f"{100 * share:.1f} %"
