"""Everything that was found as one JSON file."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from etram_mmdet.analysis.dataset.census import BoxSizes, Census, RecordingCensus
from etram_mmdet.analysis.dataset.thresholds import Thresholds

PERCENTILES = (5, 25, 50, 75, 95)
SIZES = ("width_px", "height_px", "area_px2")


def percentiles(boxes: BoxSizes) -> dict[str, dict[str, float]] | None:
    """Of width, height and area in network pixels, ``{"width_px": {"p5": ...}}``; None without boxes."""
    if not len(boxes.labels):
        return None
    columns = zip(SIZES, (boxes.widths_px, boxes.heights_px, boxes.areas_px2), strict=True)
    return {
        size: {f"p{p}": float(v) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
        for size, values in columns
    }


def as_dict(census: Census, warnings: list[str], thresholds: list[Thresholds]) -> dict:
    """Plain numbers, strings and None (unknown), ready for JSON; sizes are network pixels."""
    return {
        "data_root": str(census.data_root),
        "class_set": census.class_set,
        "classes": list(census.classes),
        "splits": {split: _split(census, split) for split in census.splits},
        "size_thresholds": {t.rule: asdict(t) for t in thresholds},
        "warnings": warnings,
        "recordings": [_recording(census, r) for r in census.recordings],
    }


def _split(census: Census, split: str) -> dict:
    boxes, lights = census.boxes(split), census.lights(split)
    return {
        "recordings": len(census.of(split)),
        "day": lights["day"],
        "night": lights["night"],
        "duration_s": census.total("duration_s", split),
        "events": census.total("num_events", split),
        "events_per_s": census.events_per_s(split),
        "events_out_of_frame": census.total("events_out_of_frame", split),
        "labelled_frames": sum(len(r.label_us) for r in census.of(split)),
        "frames_without_events": census.total("frames_without_events", split),
        "labels_per_s": census.labels_per_s(split),
        "boxes": len(boxes.labels),
        "size_mix": boxes.size_mix().tolist() if len(boxes.labels) else None,
        "dropped": census.dropped(split),
        "per_class": {name: _class(boxes.of_class(label)) for label, name in enumerate(census.classes)},
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
