"""HDF5 recordings: eTraM's and RVT's, Metavision's and DSEC's layout."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np

from etram_mmdet.events.formats.array_files import damaged_hdf5, open_hdf5, own_member
from etram_mmdet.events.formats.prophesee_header import DSEC_PX, GEN4_PX
from etram_mmdet.events.limits import MAX_TIME_US, expands_too_much
from etram_mmdet.events.recording import IndexedRecording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import has_cause

_EVENTS_PER_BLOCK = 1 << 20
_TABLES = ("events", "CD/events")  # eTraM and DSEC, Metavision
_ECF_FILTER = 0x8ECF


class Hdf5Recording(IndexedRecording):
    """``events`` or ``CD/events``, a group of four arrays or one compound array; stamps are integer microseconds.

    ``t_offset`` beside them, as in DSEC's files, is added to every stamp. The sensor's size is looked for in
    ``events/{width,height}`` and in the attributes of the table and the file (Metavision's ``geometry``).
    """

    suffixes = (".h5", ".hdf5")
    signature = b"\x89HDF\r\n\x1a\n"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with damaged_hdf5(path):
                file = self._file
                table = _table(path, file.file)
                size = _sensor_px(path, file.file, table)
                self._t_offset_us = _t_offset_us(path, file.file)
                self.size_is_assumed = size is None
                width, height = size or GEN4_PX  # as RVT assumes
                # Whole chunks per block: a chunk cut by a block edge would be decompressed twice.
                events_per_block = -(-_EVENTS_PER_BLOCK // file.chunk) * file.chunk
                super().__init__(path, width, height, file.length, events_per_block)
        except InputError:
            self.close()
            raise

    def _open_file(self) -> _OpenTable:
        return _OpenTable(self.path)

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        t = self._column("t", start, stop).astype(np.int64, copy=False)
        return t + self._t_offset_us if self._t_offset_us else t

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._column("x", start, stop), self._column("y", start, stop), self._column("p", start, stop)

    def _column(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            rows = self._file.columns[name][start:stop]
        except Exception as error:  # see damaged_hdf5
            with damaged_hdf5(self.path):
                if has_cause(error):
                    raise
                why = _why_unreadable(_table(self.path, self._file.file), name, error)
            raise InputError(f"{self.path}: events/{name} {why}") from error
        if len(rows) < stop - start:
            raise InputError(f"{self.path}: became shorter while it was read; wait until it is written completely")
        return rows


class _OpenTable:
    """The file with the four columns of its events; ``chunk`` is 1 where they are not chunked."""

    def __init__(self, path: Path) -> None:
        self.file = open_hdf5(path)
        try:
            self.columns, self.length, self.chunk = _columns(path, _table(path, self.file))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.file.close()


def _table(path: Path, file: h5py.File) -> h5py.Group | h5py.Dataset:
    for name in _TABLES:
        table = own_member(path, file, name)
        fields = () if table is None else table.dtype.names or () if isinstance(table, h5py.Dataset) else table.keys()
        if set("txyp") <= set(fields):
            return table
    found = {n: own_member(path, file, n) for n in ("events", "CD") if n in file}
    held = ", ".join([f"{n}/{{{','.join(g)}}}" for n, g in found.items() if isinstance(g, h5py.Group)] or file)
    raise InputError(
        f"{path}: no events with t, x, y and p (the file holds {held or 'nothing'}); expected eTraM's layout "
        "events/{t,x,y,p} or Metavision's CD/events"
    )


def _columns(path: Path, events: h5py.Group | h5py.Dataset) -> tuple[dict, int, int]:
    """The four columns, their common length and the chunk length of ``t`` (1 where it is not chunked)."""
    if isinstance(events, h5py.Dataset):
        columns = {n: events.fields(n) for n in "txyp"}
        dtypes = {n: events.dtype[n] for n in "txyp"}
        shapes = {"events": events.shape}
        chunks = events.chunks
    else:
        columns = {n: own_member(path, events, n) for n in "txyp"}
        if not all(isinstance(column, h5py.Dataset) for column in columns.values()):
            raise InputError(f"{path}: events/t, x, y, p must be arrays; export the recording again")
        dtypes = {n: column.dtype for n, column in columns.items()}
        shapes = {n: column.shape for n, column in columns.items()}
        chunks = columns["t"].chunks
    if dtypes["t"].kind not in "iu":
        raise InputError(f"{path}: events/t is {dtypes['t']}, expected integer microseconds; convert the recording")
    for name in "xyp":
        if dtypes[name].kind not in "iub":
            raise InputError(f"{path}: events/{name} is {dtypes[name]}, expected integers; convert the recording")
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise InputError(f"{path}: t, x, y, p differ in length ({shapes}); the recording was cut, export it again")
    length = min(shapes.values())[0]
    holders = [events] if isinstance(events, h5py.Dataset) else columns.values()
    if length and not all(holder.id.get_storage_size() for holder in holders):
        raise InputError(f"{path}: names {length} events, but holds none of them; copy or download it again")
    claimed = sum(math.prod(holder.shape) * holder.dtype.itemsize for holder in holders)
    if expands_too_much(claimed, sum(holder.id.get_storage_size() for holder in holders)):
        raise InputError(f"{path}: names {length} events, but holds few of them; copy or download it again")
    return columns, length, chunks[0] if chunks else 1


def _t_offset_us(path: Path, file: h5py.File) -> int:
    member = own_member(path, file, "t_offset")
    if member is None:
        return 0
    if not isinstance(member, h5py.Dataset) or member.size != 1 or member.dtype.kind not in "iu":
        found = f"{member.dtype} {member.shape}" if isinstance(member, h5py.Dataset) else "a group"
        raise InputError(f"{path}: t_offset is {found}, expected one integer in microseconds")
    offset_us = int(np.asarray(member).item())
    if abs(offset_us) > MAX_TIME_US:
        raise InputError(f"{path}: t_offset is {offset_us}, expected at most {MAX_TIME_US}; export it again")
    return offset_us


def _sensor_px(path: Path, file: h5py.File, events: h5py.Group | h5py.Dataset) -> tuple[int, int] | None:
    """(width, height), or nothing where the file does not say."""
    places = [events.attrs, file.attrs]
    if isinstance(events, h5py.Group):
        members = {n: own_member(path, events, n) for n in ("width", "height")}
        numbers = {n: m for n, m in members.items() if isinstance(m, h5py.Dataset) and m.size == 1}
        places.insert(0, {n: np.asarray(m).item() for n, m in numbers.items()})
    for place in places:
        size = (place["width"], place["height"]) if "width" in place and "height" in place else _geometry(place)
        if size is not None and all(str(side).isdecimal() for side in size):
            return int(size[0]), int(size[1])
    return DSEC_PX if "t_offset" in file else None


def _geometry(attributes: dict) -> tuple[str, str] | None:
    text = attributes.get("geometry", "")
    width, _, height = (text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)).partition("x")
    return (width, height) if height else None


def _why_unreadable(events: h5py.Group | h5py.Dataset, name: str, error: Exception) -> str:
    plist = (events if isinstance(events, h5py.Dataset) else events[name]).id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if _ECF_FILTER in missing:
        return (
            "is compressed with Metavision's ECF codec, which is not installed; install hdf5_ecf and set "
            "HDF5_PLUGIN_PATH to its folder, or read the RAW file that the recording was exported from"
        )
    if missing:
        return (
            f"is compressed with HDF5 filter {missing[0]}, which is not installed; install its plugin, "
            "or rewrite the file where it is installed: h5repack -f GZIP=1 IN OUT"
        )
    return f"cannot be read ({error}); the file is damaged, copy or download it again"
