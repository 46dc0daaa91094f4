"""COCO JSON files as labelling tools write them: ``images``, ``annotations`` and ``categories``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from etram_mmdet.events.choices import LabelUnit
from etram_mmdet.events.label_formats.base import (
    Hints,
    LabelFormat,
    folder_of,
    frame_number,
    recording_names,
    refuse_repeated,
    refuse_several,
)
from etram_mmdet.events.label_formats.clock import guess_unit
from etram_mmdet.events.label_formats.label_table import NO_TRACK, LabelTable, table_of
from etram_mmdet.events.limits import MAX_TEXT_BYTES
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.utils.json_files import read_json

# Keys of an image for its time; the first one that all images have is used. Unit None: guessed from
# the numbers.
_STAMP_KEYS: tuple[tuple[str, LabelUnit | None], ...] = (
    ("t_us", "us"),
    ("timestamp_us", "us"),
    ("timestamp_ms", "ms"),
    ("timestamp_s", "s"),
    ("timestamp", None),
    ("time", None),
    ("frame_id", "frames"),
    ("frame_index", "frames"),
    ("frame", "frames"),
)
_TRACK_KEYS = ("track_id", "instance_id")


class Coco(LabelFormat):
    """Labels in a COCO JSON file.

    A box's ``track_id`` may also be in its ``attributes``, as CVAT writes it. The time of an
    image is its ``t_us``, ``timestamp...``, ``frame_id`` or ``frame_index``, else the last number
    in its ``file_name``, which is a frame number. Crowds (``iscrowd``) and boxes marked ``ignore``
    are left out and counted.
    """

    name = "coco"
    title = "COCO JSON"
    suffixes = (".json",)

    @classmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"

    def _read(self, path: Path, hints: Hints) -> LabelTable:
        content = _parse(path)
        images = _of_recording(path, content, hints.recording)
        others = _ids(content["images"]) - _ids(images)
        refuse_repeated(path, "image id", (_field(path, image, "id") for image in images))
        key, unit, stamps = _stamps(path, images)
        stamp_of = {image["id"]: stamp for image, stamp in zip(images, stamps, strict=True)}
        names, place_of = _categories(path, content)
        counts: dict[str, int] = {}
        rows = []
        refuse_repeated(
            path,
            "annotation id",
            (a["id"] for a in content["annotations"] if isinstance(a.get("id"), int | str)),
        )
        for number, box in enumerate(content["annotations"]):
            image = _field(path, box, "image_id", f"annotation {number}")
            if image in others:
                continue
            if image not in stamp_of:
                reason = "boxes_of_other_images"
            elif box.get("iscrowd") or box.get("ignore"):
                reason = "boxes_to_ignore"
            else:
                rows.append(
                    (
                        stamp_of[image],
                        *_box_numbers(path, box, number),
                        *_annotation_facts(path, box, place_of),
                    )
                )
                continue
            counts[reason] = counts.get(reason, 0) + 1
        found = [f"times: {key} of the images, taken as {unit}"]
        return table_of(
            rows, names, stamps, unit=unit, size_px=_size(path, images), counts=counts, found=found
        )

    def recordings(self, path: Path) -> list[str]:
        content = _parse(path)
        videos = _videos(content)
        return [_text_of(image, videos) for image in content["images"]]

    def write(self, table: LabelTable, path: Path) -> None:
        width, height = table.size_px or (0, 0)
        key = "frame_id" if table.unit == "frames" else "t_us"
        images = [
            {
                "id": i + 1,
                "file_name": f"{int(stamp):012d}.png",
                "width": width,
                "height": height,
                key: int(stamp),
            }
            for i, stamp in enumerate(table.stamps)
        ]
        image_ids = np.searchsorted(table.stamps, table.rows["stamp"]) + 1
        boxes = [
            dict(
                id=i + 1,
                image_id=int(image),
                category_id=int(row["name"]) + 1,
                bbox=[float(row[name]) for name in "xywh"],
                area=float(row["w"] * row["h"]),
                iscrowd=0,
                score=float(row["score"]),
                **({} if row["track_id"] == NO_TRACK else dict(track_id=int(row["track_id"]))),
            )
            for i, (image, row) in enumerate(zip(image_ids, table.rows, strict=True))
        ]
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(table.names)]
        with atomic_write(path) as aside:
            aside.write_text(
                json.dumps(dict(images=images, annotations=boxes, categories=categories))
            )


def _parse(path: Path) -> dict:
    content = read_json(path, "export it again, one file for each recording", MAX_TEXT_BYTES)
    lists = ("images", "annotations", "categories")
    missing = [
        key
        for key in lists
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise InputError(
            f"{path}: lacks the list {missing[0]}, expected COCO's {', '.join(lists)}; export it "
            "as COCO"
        )
    for key in lists:
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise InputError(
                f"{path}: an entry of {key} is not a JSON object; export the labels as COCO"
            )
    return content


def _of_recording(path: Path, content: dict, name: str | None) -> list[dict]:
    """Images of one recording.

    If the file holds several recordings, an image's video or path names its recording.
    """
    images = content["images"]
    videos = _videos(content)
    if name is None:
        refuse_several(
            path,
            set(videos.values()) or {folder_of(str(image.get("file_name"))) for image in images},
        )
        return images
    found = [image for image in images if name in recording_names(_text_of(image, videos))]
    if not found:
        raise InputError(
            f"{path}: none of its images or videos belongs to {name!r}; check the name"
        )
    return found


def _ids(images: list[dict]) -> set[int | str]:
    return {image["id"] for image in images if isinstance(image.get("id"), int | str)}


def _videos(content: dict) -> dict[object, str]:
    """Name of each video by its id."""
    videos = content.get("videos")
    videos = videos if isinstance(videos, list) else ()
    return {
        v["id"]: str(v.get("name") or v.get("file_name"))
        for v in videos
        if isinstance(v, dict) and isinstance(v.get("id"), int | str)
    }


def _text_of(image: dict, videos: dict[object, str]) -> str:
    """Text that names the recording of an image: the name of its video, else its path."""
    video = image.get("video_id")
    return videos.get(video if isinstance(video, int | str) else None) or str(
        image.get("file_name")
    )


def _stamps(path: Path, images: list[dict]) -> tuple[str, LabelUnit, list[float]]:
    for key, unit in _STAMP_KEYS:
        stamps = [image.get(key) for image in images]
        if images and all(isinstance(stamp, int | float) for stamp in stamps):
            return key, unit or guess_unit(np.array(stamps, np.float64)), stamps
    numbers = [frame_number(str(image.get("file_name"))) for image in images]
    if None in numbers:
        image = images[numbers.index(None)]
        keys = ", ".join(key for key, _ in _STAMP_KEYS)
        raise InputError(
            f"{path}: image {image.get('id')} has no time: none of {keys}, and no number in its "
            f"file_name ({image.get('file_name')!r}); write t_us into every image"
        )
    refuse_repeated(path, "the frame number of a file_name", numbers)
    return "number in file_name", "frames", numbers


def _categories(path: Path, content: dict) -> tuple[list[str], dict[int, int]]:
    ids = [_field(path, category, "id") for category in content["categories"]]
    refuse_repeated(path, "category id", ids)
    names = [str(_field(path, category, "name")) for category in content["categories"]]
    unique = list(dict.fromkeys(names))
    return unique, {key: unique.index(name) for key, name in zip(ids, names, strict=True)}


def _box_numbers(path: Path, box: dict, number: int) -> list[float]:
    sides = box.get("bbox")
    is_box = (
        isinstance(sides, list)
        and len(sides) == 4
        and all(isinstance(side, int | float) for side in sides)
    )
    if not is_box:
        raise InputError(
            f"{path}: annotation {box.get('id', number)} has bbox {str(sides)[:60]}, expected "
            "[x, y, width, height] in pixels; export the labels as boxes"
        )
    return sides


def _annotation_facts(path: Path, box: dict, place_of: dict[int, int]) -> tuple[int, int, float]:
    category = box.get("category_id")
    if not isinstance(category, int | str) or category not in place_of:
        raise InputError(
            f"{path}: annotation {box.get('id')} has category_id {category}, which is not in the "
            "list categories; add it there"
        )
    attributes = box.get("attributes") if isinstance(box.get("attributes"), dict) else {}
    tracks = [source.get(key) for source in (box, attributes) for key in _TRACK_KEYS]
    track = next((track for track in tracks if isinstance(track, int)), NO_TRACK)
    score = box.get("score")
    return place_of[category], track, float(score) if isinstance(score, int | float) else 1.0


def _size(path: Path, images: list[dict]) -> tuple[int, int] | None:
    sides = [(image.get("width"), image.get("height")) for image in images]
    sizes = {size for size in sides if all(isinstance(side, int) and side > 0 for side in size)}
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:3])
        raise InputError(
            f"{path}: images have different sizes ({listed}), expected one; write one file for "
            "each recording"
        )
    return next(iter(sizes), None)


def _field(path: Path, entry: dict, key: str, what: str = "an entry") -> object:
    if not isinstance(entry.get(key), int | str):
        raise InputError(f"{path}: {what} has no {key} ({str(entry)[:80]}); export it as COCO")
    return entry[key]
