"""eTraM's and RVT's HDF5 recordings: ``events/{t,x,y,p}`` with optional ``events/{width,height}``."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the Blosc, Zstd, ... filters that recordings may be compressed with
import numpy as np

from etram_mmdet.events.errors import InputError
from etram_mmdet.events.recording import Recording

# What RVT takes for a 1-megapixel recording that does not say.
DEFAULT_WIDTH_PX, DEFAULT_HEIGHT_PX = 1280, 720
_EVENTS_PER_BLOCK = 1 << 20


class Hdf5Recording(Recording):
    """``events`` is a group of four arrays or one compound array; stamps are integer microseconds."""

    suffixes = (".h5", ".hdf5")
    signature = b"\x89HDF\r\n\x1a\n"

    def __init__(self, path: Path) -> None:
        self._file = _open_file(path)
        try:
            self._columns, num_events, chunk = _columns(path, self._file)
            width, height, self.size_is_assumed = _sensor_size(self._file["events"])
            # Whole chunks per block: a chunk cut by a block edge would be decompressed twice.
            events_per_block = -(-_EVENTS_PER_BLOCK // chunk) * chunk
            super().__init__(path, width, height, num_events, events_per_block)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _raw_stamps(self, start: int, stop: int) -> np.ndarray:
        return self._column("t", start, stop).astype(np.int64, copy=False)

    def _raw_pixels(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._column("x", start, stop), self._column("y", start, stop), self._column("p", start, stop)

    def _column(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            return self._columns[name][start:stop]
        except OSError as error:
            raise InputError(f"{self.path}: events/{name} {_why_unreadable(self._file, name, error)}") from error


def _open_file(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            problem = f"the HDF5 file is truncated at {path.stat().st_size} bytes"
        else:
            problem = f"HDF5 cannot open the file ({error})"
        raise InputError(f"{path}: {problem}; copy or download it again") from error


def _columns(path: Path, file: h5py.File) -> tuple[dict, int, int]:
    """The four columns, their common length and the chunk length of ``t`` (1 where it is not chunked)."""
    events = file.get("events")
    fields = () if events is None else events.dtype.names or () if isinstance(events, h5py.Dataset) else events.keys()
    missing = [name for name in "txyp" if name not in fields]
    if missing:
        raise InputError(
            f"{path}: no events/{', events/'.join(missing)} (the file holds {', '.join(file) or 'nothing'}); "
            "expected eTraM's layout events/{t,x,y,p}"
        )
    if isinstance(events, h5py.Dataset):
        columns, dtype_t, lengths = {n: events.fields(n) for n in "txyp"}, events.dtype["t"], {"events": len(events)}
        chunks = events.chunks
    else:
        columns, dtype_t, lengths = (
            {n: events[n] for n in "txyp"},
            events["t"].dtype,
            {n: len(events[n]) for n in "txyp"},
        )
        chunks = events["t"].chunks
    if dtype_t.kind not in "iu":
        raise InputError(f"{path}: events/t is {dtype_t}, expected integer microseconds; convert the recording")
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: t, x, y, p differ in length ({lengths}); the recording was cut, export it again")
    return columns, min(lengths.values()), chunks[0] if chunks else 1


def _sensor_size(events: h5py.Group | h5py.Dataset) -> tuple[int, int, bool]:
    if isinstance(events, h5py.Group) and "width" in events and "height" in events:
        return int(events["width"][()]), int(events["height"][()]), False
    return DEFAULT_WIDTH_PX, DEFAULT_HEIGHT_PX, True


def _why_unreadable(file: h5py.File, name: str, error: OSError) -> str:
    events = file["events"]
    plist = (events if isinstance(events, h5py.Dataset) else events[name]).id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if missing:
        return (
            f"is compressed with HDF5 filter {missing[0]}, which is not installed; install its plugin, "
            "or rewrite the file where it is installed: h5repack -f GZIP=1 IN OUT"
        )
    return f"cannot be read ({error}); the file is damaged, copy or download it again"
