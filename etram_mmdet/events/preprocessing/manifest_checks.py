"""Check the entries of a ``sequence.json`` against those that preprocessing writes."""

from __future__ import annotations

from collections.abc import Callable

from etram_mmdet.events.limits import MAX_TIME_US


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_TIME_US


def _is_time(value: object) -> bool:
    return type(value) is int and abs(value) <= MAX_TIME_US


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_rate(value: object) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= MAX_TIME_US)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_options(value: object) -> bool:
    return isinstance(value, dict) and _is_text(value.get("type"))


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_digests(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_names_of_ids(value: object) -> bool:
    """Names by ids, which may be negative."""
    return isinstance(value, dict) and all(
        key.removeprefix("-").isdecimal() and _is_text(value[key]) for key in value
    )


_NEEDED: dict[str, Callable[[object], bool]] = {
    "recording": _is_text,
    "split": _is_text,
    "source_files": _is_counts,
    "representation": _is_options,
    "representation_path": _is_text,
    "width": _is_count,
    "height": _is_count,
    "sensor_size_is_assumed": _is_flag,
    "num_events": _is_count,
    "t_first_us": _is_time,
    "t_last_us": _is_time,
    "stamps_corrected": _is_count,
    "frame_rule": _is_text,
    "num_frames": _is_count,
    "num_representations": _is_count,
    "frames_without_events": _is_count,
    "dropped": _is_counts,
}
_OPTIONAL: dict[str, Callable[[object], bool]] = {  # earlier versions did not write them
    "boxes_cut": _is_count,
    "events_in_frames": _is_count,
    "events_left_out_by_downsample": _is_count,
    "frames_per_s": _is_rate,
    "implausible": _is_texts,
    "recording_notes": _is_texts,
    "source_digests": _is_digests,
    "recording_time_ns": _is_time,
    "crc32": _is_counts,
    "labels_found": _is_texts,
    "class_names": _is_names_of_ids,
}


def problem_of(manifest: dict) -> str:
    """First entry of a manifest that is missing or has a wrong type, as text; empty if none.

    Args:
        manifest: content of a ``sequence.json``.
    """
    missing = [name for name in _NEEDED if name not in manifest]
    if missing:
        return f"lacks {missing[0]}"
    for name, check in (_NEEDED | _OPTIONAL).items():
        if name in manifest and not check(manifest[name]):
            return (
                f"{name} is {manifest[name]!r:.60}, expected {check.__name__.removeprefix('_is_')}"
            )
    return ""
