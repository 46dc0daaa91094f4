"""Write a part of a recording as an HDF5 or NumPy file, in the layout that is read fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import blosc
import h5py
import hdf5plugin
import numpy as np

from etram_mmdet.events.columns import Events
from etram_mmdet.events.formats.new_hdf5 import new_hdf5
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

_PIECE_US = 1_000_000
_CHUNK = 1 << 16
_TYPES = dict(t=np.int64, x=np.uint16, y=np.uint16, p=np.uint8)


@dataclass(frozen=True)
class Part:
    """A part of a recording, by time and by place.

    Args:
        start_us: first time, on the recording's clock. Default: its first event.
        stop_us: last time, which belongs to the part. Default: its last event.
        crop_px: left, top, width and height in pixels. Events outside are left out, and the corner
            becomes (0, 0). Default: the whole sensor.
        from_zero: whether times are written relative to ``start_us``. Default: False.
    """

    start_us: int | None = None
    stop_us: int | None = None
    crop_px: tuple[int, int, int, int] | None = None
    from_zero: bool = False

    def size_px(self, recording: Recording) -> tuple[int, int]:
        """Width and height of the part, in pixels.

        Raises:
            InputError: when the crop reaches over the sensor.
        """
        if self.crop_px is None:
            return recording.width, recording.height
        left, top, width, height = self.crop_px
        if (
            min(left, top) < 0
            or min(width, height) < 1
            or left + width > recording.width
            or top + height > recording.height
        ):
            raise InputError(
                f"--crop {left} {top} {width} {height}: expected left, top, width and height of a "
                f"part of the sensor of {recording.width}x{recording.height} pixels"
            )
        return width, height

    def span_us(self, recording: Recording) -> tuple[int, int]:
        """First and last time of the part, in microseconds.

        Raises:
            InputError: when the recording has no event in that time.
        """
        start = recording.t_first_us if self.start_us is None else self.start_us
        stop = (
            recording.t_last_us if self.stop_us is None else min(self.stop_us, recording.t_last_us)
        )
        if stop < start or stop < recording.t_first_us:
            raise InputError(
                f"{recording.path}: no event from {start} to {stop} us; its events are from "
                f"{recording.t_first_us} to {recording.t_last_us} us"
            )
        return start, stop

    def pieces(self, recording: Recording) -> Iterator[Events]:
        """Yields the events of the part, one second at a time."""
        start, stop = self.span_us(recording)
        for piece_us in range(start, stop + 1, _PIECE_US):
            yield self._cut(recording.read(piece_us, min(piece_us + _PIECE_US - 1, stop)), start)

    def _cut(self, events: Events, start_us: int) -> Events:
        t, x, y, p = events
        if self.crop_px is not None:
            left, top, width, height = self.crop_px
            inside = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
            t, x, y, p = (
                t[inside],
                x[inside] - np.uint16(left),
                y[inside] - np.uint16(top),
                p[inside],
            )
        return Events(t - start_us if self.from_zero else t, x, y, p)


def write_recording(
    recording: Recording,
    out: Path,
    part: Part | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> int:
    """Write a part of a recording to a file and return the number of its events.

    Args:
        recording: an open recording.
        out: new file. The suffix ``.h5`` or ``.hdf5`` gives ``events/{t,x,y,p}``, compressed and
            written piece by piece; ``.npz`` gives columns, which need to be in memory together.
        part: the part to write. Default: the whole recording.
        progress: wraps the iteration over pieces in a progress bar. Default: none.

    Raises:
        InputError: when ``out`` cannot be written or has another suffix, or the part holds no
            event.
    """
    part = part or Part()
    writers = {".h5": _write_hdf5, ".hdf5": _write_hdf5, ".npz": _write_npz}
    if out.suffix.lower() not in writers:
        raise InputError(f"{out}: recordings are written as .h5 or .npz; use one of these suffixes")
    size_px = part.size_px(recording)
    pieces = progress(part.pieces(recording))
    with atomic_write(out) as aside:
        count = writers[out.suffix.lower()](pieces, aside, size_px)
        if not count:
            raise InputError(
                f"{recording.path}: no event lies in this part; choose another time or crop"
            )
    return count


def _write_hdf5(pieces: Iterable[Events], path: Path, size_px: tuple[int, int]) -> int:
    with new_hdf5(path) as file:
        group = file.create_group("events")
        columns = [_Column(group, name) for name in _TYPES]
        for events in pieces:
            for column, values in zip(columns, events, strict=True):
                column.append(values)
        for column in columns:
            column.finish()
        group["width"], group["height"] = size_px
    return columns[0].length


class _Column:
    """A growing column of events, whose chunks are compressed here.

    HDF5's own cache would write chunks at times of its choice, and ends the process if the disk is
    full by then.
    """

    def __init__(self, group: h5py.Group, name: str) -> None:
        filters = hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.SHUFFLE)
        self.data = group.create_dataset(
            name, (0,), _TYPES[name], maxshape=(None,), chunks=(_CHUNK,), **filters
        )
        self.length = 0
        self._waiting = np.empty(0, _TYPES[name])

    def append(self, values: np.ndarray) -> None:
        waiting = np.concatenate([self._waiting, values.astype(self.data.dtype)])
        num_chunks = len(waiting) // _CHUNK
        for start in range(0, num_chunks * _CHUNK, _CHUNK):
            self._write(waiting[start : start + _CHUNK])
        self._waiting = waiting[num_chunks * _CHUNK :]

    def finish(self) -> None:
        """Write the remaining values.

        HDF5 stores whole chunks, so the last one is filled with zeros.
        """
        if len(self._waiting):
            self._write(self._waiting)

    def _write(self, values: np.ndarray) -> None:
        chunk = np.zeros(_CHUNK, values.dtype)
        chunk[: len(values)] = values
        packed = blosc.compress_ptr(
            chunk.ctypes.data, chunk.size, chunk.itemsize, 5, blosc.SHUFFLE, "zstd"
        )
        start = self.length
        self.length += len(values)
        self.data.resize((self.length,))
        self.data.id.write_direct_chunk((start,), packed)


def _write_npz(pieces: Iterable[Events], path: Path, size_px: tuple[int, int]) -> int:
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    named = {name: c.astype(_TYPES[name]) for name, c in zip(_TYPES, columns, strict=True)}
    np.savez_compressed(path, **named, width=size_px[0], height=size_px[1])
    return len(columns[0])
