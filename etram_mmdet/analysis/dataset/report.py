"""The numbers of a data set as tables for a terminal and as one JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from etram_mmdet.analysis.dataset.box_events import LEAST_PER_PX
from etram_mmdet.analysis.dataset.census import BoxSizes, Census, RecordingCensus
from etram_mmdet.analysis.dataset.thresholds import Thresholds
from etram_mmdet.utils.text import number, percent, table

PERCENTILES = (5, 25, 50, 75, 95)
SIZES = ("width_px", "height_px", "area_px2")


def format_census(census: Census) -> str:
    """Formats the tables of splits, events in boxes, classes and sizes, each under a title.

    Args:
        census: numbers of the data set.
    """
    seen = [_box_events(census)] if census.box_events() else []
    return "\n\n".join((_splits(census), *seen, format_classes(census), _size_mix(census)))


def format_thresholds(thresholds: Sequence[Thresholds]) -> str:
    """Formats the size thresholds of every rule as a table.

    A note below it names each rule that could not be followed completely.

    Args:
        thresholds: size thresholds, from :func:`all_thresholds`.
    """
    rows = [
        [
            t.rule,
            f"{t.small_area:.1f}",
            f"{t.medium_area:.1f}",
            f"{t.size_weight:.2f}",
            percent(t.weighted_share),
        ]
        for t in thresholds
    ]
    head = [
        "rule",
        "small_area px²",
        "medium_area px²",
        "size_weight",
        "training boxes with weight > 1",
    ]
    notes = [f"{t.rule}: {note}" for t in thresholds for note in t.notes]
    return "\n".join(
        [_titled("size thresholds for the loss, from the training boxes", head, rows), *notes]
    )


def _splits(census: Census) -> str:
    head = ["split", "recordings", "day", "night", "seconds", "events", "events/s", "out-of-frame"]
    head += ["frames", "frames/s", "boxes", "dropped"]
    rows = []
    for split in census.splits:
        lights = census.lights(split)
        numbers = (
            number(census.total("duration_s", split), 1),
            number(census.total("num_events", split)),
            number(census.events_per_s(split)),
            number(census.total("events_out_of_frame", split)),
            number(sum(len(r.label_us) for r in census.of(split))),
            number(census.labels_per_s(split), 2),
            number(len(census.boxes(split).labels)),
            percent(census.dropped_share(split)),
        )
        rows.append([split, len(census.of(split)), lights["day"], lights["night"], *numbers])
    title = f"{census.data_root}: recordings, labelled frames in use, boxes dropped by a rule"
    return _titled(title, head, rows)


def _box_events(census: Census) -> str:
    head = ["split", "events in boxes", "boxes with almost none", "camera"]
    rows = []
    for split in census.splits:
        found = census.box_events(split)
        shares = (percent(found and found.inside_share), percent(found and found.empty_share))
        rows.append([split, *shares, found and found.camera])
    title = (
        f"events in labelled frames; almost none means under {LEAST_PER_PX:g} events for each "
        "pixel of a box (network pixels)"
    )
    return _titled(title, head, rows)


def format_classes(census: Census) -> str:
    """Formats the number and sizes of boxes for every class that has boxes.

    One line below the table names the classes without boxes.

    Args:
        census: numbers of the data set.
    """
    head = ["class", *census.splits, "width px", "height px", "area px²"]
    of_split = [census.boxes(split) for split in census.splits]
    of_all = census.boxes()
    rows = []
    present = np.unique(of_all.labels).tolist()
    for label, name in ((label, census.classes[label]) for label in present):
        counts = [number(len(boxes.of_class(label).labels)) for boxes in of_split]
        rows.append([name, *counts, *_spans(of_all.of_class(label))])
    totals = [number(len(boxes.labels)) for boxes in of_split]
    rows.append(["all", *totals, *_spans(of_all)])
    absent = [name for label, name in enumerate(census.classes) if label not in present]
    notes = [f"no box of {', '.join(absent)}"] if absent else []
    notes += [f"left out: {name} {count}" for name, count in census.left_out().items()]
    title = "boxes; 5 %, 50 % and 95 % of them are smaller than these numbers (network pixels)"
    return "\n".join([_titled(title, head, rows), *notes])


def _spans(boxes: BoxSizes) -> list[str | None]:
    if not len(boxes.labels):
        return [None] * 3
    columns = (boxes.widths_px, boxes.heights_px, boxes.areas_px2)
    return [
        " ".join(f"{value:5.0f}" for value in np.percentile(column, (5, 50, 95)))
        for column in columns
    ]


def _size_mix(census: Census) -> str:
    rows = [[split, *map(percent, census.boxes(split).size_mix())] for split in census.splits]
    return _titled(
        "size mix of the boxes (network pixels)", ["split", "< 32²", "< 96²", "larger"], rows
    )


def _titled(title: str, head: Sequence[str], rows: Sequence[Sequence]) -> str:
    return f"{title}\n{table([head, *rows])}"


def percentiles(boxes: BoxSizes) -> dict[str, dict[str, float]] | None:
    """Returns percentiles of width, height and area, such as ``{"width_px": {"p5": 7.0, ...}}``.

    Args:
        boxes: sizes of boxes, in network pixels.

    Returns:
        The percentiles of `PERCENTILES` for each of `SIZES`; ``None`` without boxes.
    """
    if not len(boxes.labels):
        return None
    columns = zip(SIZES, (boxes.widths_px, boxes.heights_px, boxes.areas_px2), strict=True)
    return {
        size: {
            f"p{p}": float(v)
            for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
        }
        for size, values in columns
    }


def as_dict(census: Census, warnings: list[str], thresholds: list[Thresholds]) -> dict:
    """Returns all numbers as plain values for JSON; sizes in network pixels, ``None`` if unknown.

    Args:
        census: numbers of the data set.
        warnings: sentences from :func:`find_warnings` and :func:`stride_warnings`.
        thresholds: size thresholds, from :func:`all_thresholds`.
    """
    return {
        "data_root": str(census.data_root),
        "class_set": census.class_set,
        "classes": list(census.classes),
        "splits": {split: _split(census, split) for split in census.splits},
        "size_thresholds": {t.rule: asdict(t) for t in thresholds},
        "problems": census.problems,
        "warnings": warnings,
        "boxes_left_out": census.left_out(),
        "recordings": [_recording(census, r) for r in census.recordings],
    }


def _split(census: Census, split: str) -> dict:
    boxes = census.boxes(split)
    lights = census.lights(split)
    events = census.box_events(split)
    return {
        "recordings": len(census.of(split)),
        "day": lights["day"],
        "night": lights["night"],
        "duration_s": census.total("duration_s", split),
        "events": census.total("num_events", split),
        "events_per_s": census.events_per_s(split),
        "events_out_of_frame": census.total("events_out_of_frame", split),
        "events_in_frames": census.total("events_in_frames", split),
        "events_left_out_by_downsample": census.total("events_left_out", split),
        "labelled_frames": sum(len(r.label_us) for r in census.of(split)),
        "frames_without_events": census.total("frames_without_events", split),
        "events_in_boxes_share": events and events.inside_share,
        "boxes_almost_without_events_share": events and events.empty_share,
        "camera": events and events.camera,
        "labels_per_s": census.labels_per_s(split),
        "boxes": len(boxes.labels),
        "size_mix": boxes.size_mix().tolist() if len(boxes.labels) else None,
        "dropped": census.dropped(split),
        "per_class": {
            name: _class(boxes.of_class(label)) for label, name in enumerate(census.classes)
        },
    }


def _class(boxes: BoxSizes) -> dict:
    return {"boxes": len(boxes.labels), "percentiles": percentiles(boxes)}


def _recording(census: Census, recording: RecordingCensus) -> dict:
    counts = np.bincount(recording.boxes.labels, minlength=len(census.classes)).tolist()
    return {
        "split": recording.split,
        "name": recording.name,
        "light": recording.light,
        "sensor_px": recording.size_px,
        "sensor_size_is_assumed": recording.size_is_assumed,
        "duration_s": recording.duration_s,
        "events": recording.num_events,
        "events_per_s": recording.events_per_s,
        "events_out_of_frame": recording.events_out_of_frame,
        "labelled_frames": len(recording.label_us),
        "frames_without_events": recording.frames_without_events,
        "boxes": dict(zip(census.classes, counts, strict=True)),
        "dropped": recording.dropped,
    }
