"""CVAT XML files: tracks of a video, or images with boxes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.label_formats.base import Hints, LabelFormat, read_text
from etram_mmdet.events.label_formats.label_table import NO_TRACK, LabelTable, table_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write


class Cvat(LabelFormat):
    """Labels in ``CVAT for video 1.1`` or ``CVAT for images 1.1``; frames count from 0.

    A box marked ``outside`` ends its track at that frame and is no label. Shapes other than boxes
    are left out and counted.
    """

    name = "cvat"
    title = "CVAT XML"
    suffixes = (".xml",)
    counts_frames = True
    has_fixed_boxes = True

    @classmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"

    def _read(self, path: Path, hints: Hints) -> LabelTable:
        root = _parse(path)
        found = _Found([], {}, {}, set(), [])
        for number, track in enumerate(root.iter("track")):
            _add_track(path, track, number, found)
        for image in root.iter("image"):
            _add_image(path, image, found)
        size_px = _size(path, root) or hints.size_px
        stamps = found.stamps | set(_all_frames(path, root))
        labels = [name.text or "" for name in root.iterfind("meta//labels/label/name")]
        names = list(dict.fromkeys([*labels, *found.names]))  # also names without a box
        place = {number: names.index(name) for name, number in found.names.items()}
        rows = [(*row[:5], place[row[5]], *row[6:]) for row in found.rows]
        return table_of(
            rows,
            names,
            stamps,
            unit="frames",
            size_px=size_px,
            counts=found.counts,
            ends=found.ends,
        )

    def write(self, table: LabelTable, path: Path) -> None:
        """Write boxes with a track as tracks of key frames, and other boxes as images."""
        root = ElementTree.Element("annotations")
        ElementTree.SubElement(root, "version").text = "1.1"
        _write_meta(root, table)
        tracks = np.unique(table.rows["track_id"])
        for number in tracks[tracks != NO_TRACK]:
            _write_track(root, table, int(number))
        _write_images(root, table)
        ElementTree.indent(root)
        with atomic_write(path) as aside:
            ElementTree.ElementTree(root).write(aside, encoding="utf-8", xml_declaration=True)


class _Found(NamedTuple):
    rows: list[tuple]
    names: dict[str, int]
    counts: dict[str, int]
    stamps: set[int]
    ends: list[tuple[int, int]]

    def add(self, name: str, frame: int, sides: tuple[float, ...], track: int) -> None:
        self.rows.append((frame, *sides, self.names.setdefault(name, len(self.names)), track, 1.0))
        self.stamps.add(frame)

    def count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1


def _parse(path: Path) -> ElementTree.Element:
    text = read_text(path)
    # Entities can expand to more text than memory holds.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(
            f"{path}: declares a document type, which files of CVAT never do; export it from CVAT "
            "again"
        )
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not valid XML ({error}); export it again") from error
    if root.tag != "annotations":
        raise InputError(
            f"{path}: begins with <{root.tag:.40}>, expected CVAT's <annotations>; export the "
            "labels as CVAT for video"
        )
    return root


def _add_track(path: Path, track: ElementTree.Element, number: int, found: _Found) -> None:
    label = track.get("label", "")
    track_id = _number(path, track, "id", int, number)
    for shape in track:
        if shape.tag != "box":
            found.count(f"shapes_{shape.tag}"[:40])
        elif shape.get("outside") == "1":
            frame = _number(path, shape, "frame", int)
            found.stamps.add(frame)
            found.ends.append((track_id, frame))
        else:
            found.add(label, _number(path, shape, "frame", int), _sides(path, shape), track_id)


def _add_image(path: Path, image: ElementTree.Element, found: _Found) -> None:
    frame = _number(path, image, "id", int)
    found.stamps.add(frame)
    for shape in image:
        if shape.tag == "box":
            found.add(shape.get("label", ""), frame, _sides(path, shape), NO_TRACK)
        else:
            found.count(f"shapes_{shape.tag}"[:40])


def _sides(path: Path, box: ElementTree.Element) -> tuple[float, float, float, float]:
    left, top, right, bottom = (
        _number(path, box, key, float) for key in ("xtl", "ytl", "xbr", "ybr")
    )
    return left, top, right - left, bottom - top


def _number(
    path: Path, element: ElementTree.Element, key: str, kind: type, default: int | None = None
) -> int | float:
    value = element.get(key, default)
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: <{element.tag:.40}> has {key}={str(value)[:40]!r}, expected a number; export "
            "it again"
        ) from error


def _size(path: Path, root: ElementTree.Element) -> tuple[int, int] | None:
    size = root.find("meta//original_size")
    if size is not None:
        words = [size.findtext("width", ""), size.findtext("height", "")]
        if all(word.strip().isdecimal() for word in words):
            return int(words[0]), int(words[1])
    sizes = {
        (_number(path, i, "width", int, 0), _number(path, i, "height", int, 0))
        for i in root.iter("image")
    }
    if len(sizes) > 1:
        raise InputError(
            f"{path}: images have {len(sizes)} different sizes, expected one; write one file for "
            "each recording"
        )
    return next((size for size in sizes if min(size) > 0), None)


def _all_frames(path: Path, root: ElementTree.Element) -> Iterator[int]:
    """All frames of the task; a person looked at every one of them."""
    task = next(
        (
            root.find(f"meta/{kind}")
            for kind in ("task", "job")
            if root.find(f"meta/{kind}") is not None
        ),
        None,
    )
    bounds = (
        []
        if task is None
        else [task.findtext(key, "").strip() for key in ("start_frame", "stop_frame")]
    )
    if len(bounds) == 2 and all(bound.isdecimal() for bound in bounds):
        step = task.findtext("frame_filter", "").removeprefix("step=").strip()
        yield from range(
            int(bounds[0]), int(bounds[1]) + 1, int(step) if step.isdecimal() and int(step) else 1
        )


def _write_meta(root: ElementTree.Element, table: LabelTable) -> None:
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    if table.size_px is not None:
        size = ElementTree.SubElement(task, "original_size")
        for key, side in zip(("width", "height"), table.size_px, strict=True):
            ElementTree.SubElement(size, key).text = str(side)
    labels = ElementTree.SubElement(task, "labels")
    for name in table.names:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name


def _write_track(root: ElementTree.Element, table: LabelTable, track_id: int) -> None:
    rows = table.rows[table.rows["track_id"] == track_id]
    for name in np.unique(rows["name"]):  # a track of CVAT has one class
        boxes = rows[rows["name"] == name]
        track = ElementTree.SubElement(
            root, "track", id=str(track_id), label=table.names[name], source="file"
        )
        for row in boxes:
            attributes = dict(
                frame=str(int(row["stamp"])), keyframe="1", outside="0", occluded="0", z_order="0"
            )
            ElementTree.SubElement(track, "box", **attributes, **_corners(row))
        after = table.stamps[np.searchsorted(table.stamps, boxes["stamp"][-1], side="right") :]
        if len(after):  # without it CVAT shows the last box to the end of the video
            attributes = dict(
                frame=str(int(after[0])), keyframe="1", outside="1", occluded="0", z_order="0"
            )
            ElementTree.SubElement(track, "box", **attributes, **_corners(boxes[-1]))


def _write_images(root: ElementTree.Element, table: LabelTable) -> None:
    """Write frames that tracks cannot express: with boxes without a track, or without any box."""
    for stamp in table.stamps:
        rows = table.rows[table.rows["stamp"] == stamp]
        alone = rows[rows["track_id"] == NO_TRACK]
        if len(alone) or not len(rows):
            image = ElementTree.SubElement(
                root, "image", id=str(int(stamp)), name=f"frame_{int(stamp):09d}.png"
            )
            if table.size_px is not None:
                image.set("width", str(table.size_px[0]))
                image.set("height", str(table.size_px[1]))
            for row in alone:
                ElementTree.SubElement(
                    image, "box", label=table.names[row["name"]], occluded="0", **_corners(row)
                )


def _corners(row: np.void) -> dict[str, str]:
    x, y, w, h = (float(row[name]) for name in "xywh")
    return dict(xtl=f"{x:.4f}", ytl=f"{y:.4f}", xbr=f"{x + w:.4f}", ybr=f"{y + h:.4f}")
