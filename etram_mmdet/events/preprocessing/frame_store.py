"""Store frames in an HDF5 file like RVT's, one Blosc chunk per frame.

Chunks are compressed, written and read without HDF5's filter pipeline. HDF5 would copy every frame
twice and compress in blocks of 32 kB. Blosc on its own, in blocks of 256 kB, is faster both ways,
and any HDF5 reader with the Blosc filter still opens the file.

``data_crc32`` beside the frames holds the CRC-32 of each compressed frame, begun from the frame's
number. A damaged frame is therefore noticed, and so is a frame that damage to HDF5's index puts in
another's place. HDF5's own checksum (Fletcher32) would not notice the latter, and it notices
nothing if chunks are read directly. RVT ignores ``data_crc32``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blosc
import h5py
import hdf5plugin
import numpy as np

from etram_mmdet.events.choices import Codec
from etram_mmdet.events.formats.array_files import (
    PREPROCESS_AGAIN,
    damaged_hdf5,
    open_hdf5,
    own_member,
)
from etram_mmdet.events.limits import MAX_FRAME_BYTES, MAX_SIDE_PX
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, has_cause

CHECKSUMS = "data_crc32"
_BLOSC_FILTER = 32001
_BLOCK_BYTES = 1 << 18
_LEVEL = 1

_CODEC_OF_NUMBER: dict[int, Codec] = {1: "lz4", 5: "zstd"}  # as the filter's settings name them

blosc.set_nthreads(1)  # recordings are processed in parallel instead
blosc.set_releasegil(True)
blosc.set_blocksize(_BLOCK_BYTES)


def create_frames(
    file: h5py.File,
    num_frames: int,
    shape: tuple[int, int, int],
    dtype: type,
    codec: Codec = "zstd",
) -> h5py.Dataset:
    """Create the dataset ``data`` for frames of one byte per cell.

    With ``zstd`` the filter settings are those of RVT's files.

    Args:
        file: open HDF5 file.
        num_frames: number of frames.
        shape: (C, H, W) of a frame.
        dtype: type of a cell, uint8 or int8.
        codec: Blosc's compression, ``zstd`` or ``lz4``. Default: ``zstd``.
    """
    return file.create_dataset(
        "data",
        shape=(num_frames, *shape),
        maxshape=(None, *shape),
        chunks=(1, *shape),
        dtype=dtype,
        **hdf5plugin.Blosc(cname=codec, clevel=_LEVEL, shuffle=hdf5plugin.Blosc.SHUFFLE),
    )


def write_frames(data: h5py.Dataset, frames: Iterable[np.ndarray]) -> None:
    """Write frames and their checksums.

    A frame is compressed while the next one is made, so ``frames`` must not reuse the memory of the
    frame before.

    Args:
        data: dataset that :func:`create_frames` made.
        frames: C-contiguous arrays (C, H, W) of one byte per cell.
    """
    codec = _CODEC_OF_NUMBER[data.id.get_create_plist().get_filter(0)[2][6]]
    checksums = []

    def write(index: int, chunk: bytes) -> None:
        data.id.write_direct_chunk((index, 0, 0, 0), chunk)
        checksums.append(checksum(index, chunk))

    with ThreadPoolExecutor(1) as pool:
        chunk = None
        for index, frame in enumerate(frames):
            if chunk is not None:
                write(index - 1, chunk.result())
            chunk = pool.submit(compress, frame, codec)
        if chunk is not None:
            write(index, chunk.result())
    write_checksums(data, checksums)


def write_checksums(data: h5py.Dataset, checksums: list[int]) -> None:
    """Write the checksums of all frames beside them.

    Args:
        data: dataset of the frames.
        checksums: result of :func:`checksum` for each frame, in order.
    """
    data.parent.create_dataset(CHECKSUMS, data=np.array(checksums, "<u4"))


def compress(frame: np.ndarray, codec: Codec = "zstd") -> bytes:
    """Compress a frame to a chunk.

    Args:
        frame: C-contiguous array of one byte per cell.
        codec: Blosc's compression, ``zstd`` or ``lz4``. Default: ``zstd``.
    """
    return blosc.compress_ptr(frame.ctypes.data, frame.size, 1, _LEVEL, blosc.SHUFFLE, codec)


def checksum(index: int, chunk: bytes) -> int:
    """Checksum of a compressed frame, as ``data_crc32`` holds it.

    Args:
        index: number of the frame.
        chunk: the compressed frame.
    """
    return zlib.crc32(chunk, index)


class FrameFile:
    """A file of frames (n, C, H, W) of one byte per cell, open for reading, with any HDF5 filter.

    Args:
        path: the HDF5 file.

    Attributes:
        shape: (n, C, H, W).
        dtype: type of a cell.
        checksums: uint32 (n,); ``None`` for files of RVT and of versions that wrote none.

    Raises:
        InputError: when the file is no such file; in ``read``, when a frame is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_hdf5(path, PREPROCESS_AGAIN)
        try:
            with damaged_hdf5(path, PREPROCESS_AGAIN):
                self._data = _frames_in(path, self._file)
                self.shape = self._data.shape
                self.dtype = self._data.dtype
                self.checksums = _checksums_in(path, self._file, self.shape[0])
                self._is_direct = _is_blosc_per_frame(self._data)
        except InputError:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FrameFile:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive)."""
        try:
            return self._read(start, stop)
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            raise InputError(f"{self.path}: {_why(error, self.path)}") from error

    def _read(self, start: int, stop: int) -> np.ndarray:
        if not self._is_direct and self.checksums is None:
            return self._data[start:stop]
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for index, frame in zip(range(start, stop), out, strict=True):
            skipped_filters, chunk = self._data.id.read_direct_chunk((index, 0, 0, 0))
            if self.checksums is not None and checksum(index, chunk) != self.checksums[index]:
                raise OSError(f"frame {index} is damaged (its checksum differs)")
            if skipped_filters and self.checksums is None:
                return self._data[start:stop]
            _check_header(index, chunk, frame.nbytes)
            try:
                blosc.decompress_ptr(chunk, frame.ctypes.data)
            except blosc.blosc_extension.error as error:
                raise OSError(f"frame {index} is damaged: {error}") from error
        return out


def _frames_in(path: Path, file: h5py.File) -> h5py.Dataset:
    data = own_member(path, file, "data")
    if not isinstance(data, h5py.Dataset):
        raise InputError(
            f"{path}: holds no 'data', expected frames (n, C, H, W); {PREPROCESS_AGAIN}"
        )
    if data.ndim == 4 and math.prod(data.shape[1:]) > MAX_FRAME_BYTES:
        raise InputError(
            f"{path}: frames of {data.shape[1:]}, expected at most {MAX_FRAME_BYTES:,} bytes; "
            f"{PREPROCESS_AGAIN}"
        )
    if (
        data.ndim != 4
        or max(data.shape[1:]) > MAX_SIDE_PX
        or data.dtype.kind not in "iu"
        or data.dtype.itemsize != 1
    ):
        raise InputError(
            f"{path}: data is {data.dtype} {data.shape}, expected uint8 or int8 (n, C, H, W) with "
            f"sides up to {MAX_SIDE_PX}; write the folder as tools/preprocess.py does, or "
            f"{PREPROCESS_AGAIN}"
        )
    return data


def _checksums_in(path: Path, file: h5py.File, num_frames: int) -> np.ndarray | None:
    stored = own_member(path, file, CHECKSUMS)
    if stored is None:
        return None
    if (
        not isinstance(stored, h5py.Dataset)
        or stored.shape != (num_frames,)
        or stored.dtype != np.uint32
    ):
        found = f"{stored.dtype} {stored.shape}" if isinstance(stored, h5py.Dataset) else "a group"
        raise InputError(
            f"{path}: {CHECKSUMS} is {found}, expected uint32 ({num_frames},); {PREPROCESS_AGAIN}"
        )
    return stored[()]


def _is_blosc_per_frame(data: h5py.Dataset) -> bool:
    plist = data.id.get_create_plist()
    is_blosc = plist.get_nfilters() == 1 and plist.get_filter(0)[0] == _BLOSC_FILTER
    return is_blosc and data.chunks == (1, *data.shape[1:])


def _check_header(index: int, chunk: bytes, num_bytes: int) -> None:
    """Check a chunk's header; Blosc trusts it, and a damaged one must not write past the frame."""
    unpacked, packed = (int.from_bytes(chunk[i : i + 4], "little") for i in (4, 12))
    if len(chunk) < 16 or unpacked != num_bytes or packed != len(chunk):
        raise OSError(
            f"frame {index} is damaged: its {len(chunk)} bytes state a size of {packed} and a "
            f"content of {unpacked}, expected {num_bytes}"
        )


def _why(error: Exception, path: Path) -> str:
    """Cause of an error for the message: the system's, else that the file is damaged."""
    return (
        f"cannot be read: {because(error, path)}"
        if has_cause(error)
        else f"{error}; {PREPROCESS_AGAIN}"
    )
