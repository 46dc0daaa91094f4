"""Frames in an HDF5 file as RVT stores them, one Blosc chunk each, written and read around HDF5's filter pipeline.

HDF5 would copy every frame twice and compress in blocks of 32 kB; Blosc on its own, in blocks of 256 kB, is faster both
ways and the file remains one that any HDF5 reader with the Blosc filter opens.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import blosc
import h5py
import hdf5plugin
import numpy as np

from etram_mmdet.events.choices import Codec

_BLOSC_FILTER = 32001
_BLOCK_BYTES = 1 << 18
_LEVEL = 1

_CODEC_OF_NUMBER: dict[int, Codec] = {1: "lz4", 5: "zstd"}  # as the filter's settings name them

blosc.set_nthreads(1)  # recordings are what runs in parallel
blosc.set_releasegil(True)
blosc.set_blocksize(_BLOCK_BYTES)


def create_frames(
    file: h5py.File, num_frames: int, shape: tuple[int, int, int], dtype: type, codec: Codec = "zstd"
) -> h5py.Dataset:
    """The dataset ``data`` of frames (C, H, W) of one byte a cell; with ``zstd`` the filter settings of RVT's files."""
    return file.create_dataset(
        "data",
        shape=(num_frames, *shape),
        maxshape=(None, *shape),
        chunks=(1, *shape),
        dtype=dtype,
        **hdf5plugin.Blosc(cname=codec, clevel=_LEVEL, shuffle=hdf5plugin.Blosc.SHUFFLE),
    )


def write_frames(data: h5py.Dataset, frames: Iterable[np.ndarray]) -> None:
    """Store C-contiguous frames of one byte a cell.

    A frame is compressed while the next one is made, so ``frames`` must not reuse the memory of the frame before.
    """
    codec = _CODEC_OF_NUMBER[data.id.get_create_plist().get_filter(0)[2][6]]
    with ThreadPoolExecutor(1) as pool:
        chunk = None
        for index, frame in enumerate(frames):
            if chunk is not None:
                data.id.write_direct_chunk((index - 1, 0, 0, 0), chunk.result())
            chunk = pool.submit(compress, frame, codec)
        if chunk is not None:
            data.id.write_direct_chunk((index, 0, 0, 0), chunk.result())


def compress(frame: np.ndarray, codec: Codec = "zstd") -> bytes:
    """The chunk of a C-contiguous frame of one byte a cell."""
    return blosc.compress_ptr(frame.ctypes.data, frame.size, 1, _LEVEL, blosc.SHUFFLE, codec)


def read_frames(data: h5py.Dataset, start: int, stop: int) -> np.ndarray:
    """Frames ``start`` to ``stop`` (exclusive), whatever filters the file has; raises ``OSError`` on damage."""
    if not _is_blosc_per_frame(data):
        return data[start:stop]
    out = np.empty((stop - start, *data.shape[1:]), data.dtype)
    for index, frame in zip(range(start, stop), out, strict=True):
        skipped_filters, chunk = data.id.read_direct_chunk((index, 0, 0, 0))
        if skipped_filters:
            return data[start:stop]
        _check_header(chunk, frame.nbytes)
        try:
            blosc.decompress_ptr(chunk, frame.ctypes.data)
        except blosc.blosc_extension.error as error:
            raise OSError(f"a damaged frame: {error}") from error
    return out


def _is_blosc_per_frame(data: h5py.Dataset) -> bool:
    plist = data.id.get_create_plist()
    is_blosc = plist.get_nfilters() == 1 and plist.get_filter(0)[0] == _BLOSC_FILTER
    return is_blosc and data.dtype.itemsize == 1 and data.chunks == (1, *data.shape[1:])


def _check_header(chunk: bytes, num_bytes: int) -> None:
    """Blosc believes its header; a damaged one must not write past the frame."""
    unpacked, packed = (int.from_bytes(chunk[i : i + 4], "little") for i in (4, 12))
    if len(chunk) < 16 or unpacked != num_bytes or packed != len(chunk):
        raise OSError(f"a damaged frame: {len(chunk)} bytes that claim to be {packed} and to hold {unpacked}")
