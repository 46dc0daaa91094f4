"""Prophesee's DAT recordings, version 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.events.formats.evt import wrap_distance
from etram_mmdet.events.formats.prophesee_header import SIGNATURE, read_percent_header
from etram_mmdet.events.formats.sensors import smallest_sensor
from etram_mmdet.events.indexed_recording import IndexedRecording
from etram_mmdet.utils.errors import InputError

_EVENT = np.dtype([("t", "<u4"), ("xyp", "<u4")])
_EVENTS_PER_BLOCK = 1 << 20
_WRAP_US = wrap_distance(32)


class DatRecording(IndexedRecording):
    """Recording in a Prophesee DAT file of version 2.

    An event has eight bytes: 32-bit microseconds, then x (14 bits), y (14), p (1). Stamps start
    again from zero after 71.6 minutes. The event type byte is not used: 0 and 12 are both in use
    for the same layout. If the header states no size, the smallest known sensor that the first
    million events fit into is assumed.

    Args:
        path: the file.

    Raises:
        InputError: when the header names another version or event size, or the file holds no usable
            event.
    """

    suffixes = (".dat",)
    signature = SIGNATURE

    def __init__(self, path: Path) -> None:
        header = read_percent_header(path)
        version = header.fields.get("version", "2")
        if version != "2":
            raise InputError(
                f"{path}: DAT version {version}, expected 2; convert it with the camera's software"
            )
        length, self._tail_bytes = divmod(
            max(path.stat().st_size - header.num_bytes - 2, 0), _EVENT.itemsize
        )
        self._data_start = header.num_bytes + 2
        # Turns of the counter before each block, and the last stamp before it.
        self._loops: list[tuple[int, int]] = []
        self.path = path
        try:
            self._check_event_size(path, header.num_bytes)
            self.size_is_assumed = header.size_px is None
            width, height = header.size_px or smallest_sensor(
                *self._pixels_between(0, min(length, _EVENTS_PER_BLOCK))[:2]
            )
            super().__init__(path, width, height, length, _EVENTS_PER_BLOCK)
        except BaseException:
            self.close()
            raise

    @property
    def dropped(self) -> dict[str, int]:
        return super().dropped | (
            {"bytes_after_last_event": self._tail_bytes} if self._tail_bytes else {}
        )

    def _check_event_size(self, path: Path, offset: int) -> None:
        file = self._file
        file.seek(offset)
        type_and_size = file.read(2)
        if len(type_and_size) == 2 and type_and_size[1] != _EVENT.itemsize:
            raise InputError(
                f"{path}: events of {type_and_size[1]} bytes, expected 8; the file is damaged or "
                "not DAT version 2; copy it again, or convert it with the camera's software"
            )

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        t = self._read(start, stop)["t"].astype(np.int64)
        block = start // _EVENTS_PER_BLOCK
        if not self._loops:
            self._loops.append((0, int(np.median(t[:3]))))  # one of the first stamps may be damaged
        loops, last = self._loops[block]
        steps_us = np.diff(t, prepend=last)
        turns = np.cumsum((steps_us < -_WRAP_US).astype(np.int64) - (steps_us > _WRAP_US))
        if block + 1 == len(self._loops):
            self._loops.append((loops + int(turns[-1]), int(t[-1])))
        return t + ((loops + turns) << 32)

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        packed = self._read(start, stop)["xyp"]
        x, y = packed & 0x3FFF, packed >> 14 & 0x3FFF
        return x.astype(np.uint16), y.astype(np.uint16), (packed >> 28 & 1).astype(np.uint8)

    def _read(self, start: int, stop: int) -> np.ndarray:
        file = self._file
        file.seek(self._data_start + start * _EVENT.itemsize)
        events = np.fromfile(file, _EVENT, stop - start)
        if len(events) < stop - start:
            raise InputError(
                f"{self.path}: became shorter while it was read; wait until it is complete"
            )
        return events
