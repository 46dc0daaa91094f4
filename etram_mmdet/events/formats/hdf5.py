"""HDF5 recordings: the layouts of eTraM and RVT, Metavision, DSEC, v2e, M3ED and MVSEC."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.events.formats.array_files import damaged_hdf5, open_hdf5
from etram_mmdet.events.formats.columns import are_seconds, whole
from etram_mmdet.events.formats.hdf5_layout import (
    Column,
    Places,
    columns_of,
    find_table,
    notes,
    sensor_px,
    t_offset_us,
)
from etram_mmdet.events.formats.sensors import smallest_sensor
from etram_mmdet.events.indexed_recording import IndexedRecording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import has_cause
from etram_mmdet.utils.lazy import LazyModule

h5py = LazyModule("h5py", "h5py hdf5plugin")

_EVENTS_PER_BLOCK = 1 << 20
_ECF_FILTER = 0x8ECF


class Hdf5Recording(IndexedRecording):
    """Recording in an HDF5 file.

    Events are read from ``events``, ``CD/events``, ``prophesee/left`` or ``davis/left/events``.
    These may be a group of four arrays, a compound array, or an array of numbers (N, 4).

    Stamps are integer microseconds; floating-point ones are seconds if they have fractions, else
    microseconds. If the file holds a ``t_offset``, as DSEC's files do, it is added to every stamp.
    The sensor's size is read from members and attributes of the table and the file (see
    `stated_px`). If none states it, the smallest known sensor that the first million events fit
    into is assumed.

    Args:
        path: the file.
        places: column numbers of t, x, y and p in an array of numbers (N, C). Default: found by
            their values.

    Raises:
        InputError: when the file is damaged, holds no events in a known layout, or names its
            columns although ``places`` is given.
    """

    suffixes = (".h5", ".hdf5")
    signature = b"\x89HDF\r\n\x1a\n"
    takes_columns = True

    def __init__(self, path: Path, places: Places = None) -> None:
        self.path = path
        self._places = places
        try:
            with damaged_hdf5(path):
                file = self._file
                self._t_offset_us = t_offset_us(path, file.file)
                if file.columns["t"].dtype.kind == "f":
                    self.stamps_are_seconds = are_seconds(
                        self._column("t", 0, min(file.length, 1000))
                    )
                self.notes = notes(path, file.file, file.name)
                # Whole chunks per block: a chunk cut by a block edge would be decompressed twice.
                events_per_block = -(-_EVENTS_PER_BLOCK // file.chunk) * file.chunk
                size = sensor_px(path, file.file, file.table)
                self.size_is_assumed = size is None
                if size is None:
                    size = smallest_sensor(
                        *self._pixels_between(0, min(file.length, events_per_block))[:2]
                    )
                super().__init__(path, *size, file.length, events_per_block)
        except InputError:
            self.close()
            raise

    def _open_file(self) -> _OpenTable:
        return _OpenTable(self.path, self._places)

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        t = self._column("t", start, stop)
        if t.dtype.kind == "f":
            return t + self._t_offset_us * (1e-6 if self.stamps_are_seconds else 1.0)
        t = t.astype(np.int64, copy=False)
        return t + self._t_offset_us if self._t_offset_us else t

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(whole(self._column(name, start, stop)) for name in "xyp")

    def _column(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            rows = self._file.columns[name].read(start, stop)
        except Exception as error:  # see damaged_hdf5
            with damaged_hdf5(self.path):
                if has_cause(error):
                    raise
                why = _why_unreadable(self._file.columns[name], error)
            raise InputError(f"{self.path}: events/{name} {why}") from error
        if len(rows) < stop - start:
            raise InputError(
                f"{self.path}: became shorter while it was read; wait until it is complete"
            )
        return rows


class _OpenTable:
    """An open HDF5 file and the four columns of its events.

    ``chunk`` is 1 if the columns are not chunked.
    """

    def __init__(self, path: Path, places: Places) -> None:
        self.file = open_hdf5(path)
        try:
            self.name, self.table = find_table(path, self.file)
            self.columns = columns_of(path, self.name, self.table, places)
        except BaseException:
            self.close()
            raise
        stamps = self.columns["t"].data
        self.length = stamps.shape[0]
        self.chunk = stamps.chunks[0] if stamps.chunks else 1

    def close(self) -> None:
        self.file.close()


def _why_unreadable(column: Column, error: Exception) -> str:
    plist = column.data.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if _ECF_FILTER in missing:
        return (
            "is compressed with Metavision's ECF codec, which is not installed; install hdf5_ecf "
            "and set HDF5_PLUGIN_PATH to its folder, or use the RAW file that the recording was "
            "exported from"
        )
    if missing:
        return (
            f"is compressed with HDF5 filter {missing[0]}, which is not installed; install its "
            "plugin, or rewrite the file on a machine that has it: h5repack -f GZIP=1 IN OUT"
        )
    return f"cannot be read ({error}); the file is damaged; copy or download it again"
