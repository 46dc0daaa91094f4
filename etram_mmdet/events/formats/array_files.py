"""Safe reading of HDF5 and NumPy files from unknown sources: only data in the file itself is read.

An HDF5 file may refer to other files of the machine: by external links, virtual datasets, and
datasets whose bytes lie elsewhere. A dataset made from such a file would contain the content of
those other files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from etram_mmdet.events.formats.npy import open_archive, read_array
from etram_mmdet.events.limits import MAX_CHUNK_BYTES
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, check_is_file, has_cause
from etram_mmdet.utils.lazy import LazyModule, load

h5py = LazyModule("h5py", "h5py hdf5plugin")

# HDF5 filters whose libraries end in an error if a file is damaged: HDF5's own, LZF, Blosc, LZ4,
# Zstandard, Blosc2, and Metavision's ECF, which has to be installed. Others, such as bitshuffle, SZ
# and bzip2, crash or never end.
FILTERS = (1, 2, 3, 4, 5, 6, 32000, 32001, 32004, 32015, 32026, 0x8ECF)
LFS_POINTER = "a pointer of Git LFS, not the file itself; fetch the file with: git lfs pull"
PREPROCESS_AGAIN = "delete the sequence folder and run tools/preprocess.py again"


def open_hdf5(path: Path, advice: str = "copy or download it again") -> h5py.File:
    """Open an HDF5 file for reading.

    Args:
        path: the file.
        advice: next step for the user, the end of the error message.

    Raises:
        InputError: when ``path`` is missing, no regular file, truncated, still being written, or
            not HDF5.
    """
    check_is_file(path)
    load("hdf5plugin", "h5py hdf5plugin")  # registers Blosc, Zstandard and other filters
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "unable to lock file" in str(error):
            raise InputError(
                f"{path}: another process is still writing it; wait until that process has ended"
            ) from error
        if has_cause(error):
            raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
        if "already open for write" in str(error):
            problem = (
                "another program still writes the file, or ended without closing it (then run: "
                "h5clear -s FILE)"
            )
        elif is_lfs_pointer(path):
            raise InputError(f"{path}: {LFS_POINTER}") from error
        elif "truncated" in str(error):
            problem = (
                f"the HDF5 file is truncated at {path.stat().st_size} bytes (cut, or still being "
                "written)"
            )
        else:
            problem = f"HDF5 cannot open the file ({error})"
        raise InputError(f"{path}: {problem}; {advice}") from error


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is a Git LFS pointer: a few lines of text in place of the file itself.

    Args:
        path: the file.
    """
    with path.open("rb") as file:
        return file.read(64).startswith(b"version https://git-lfs")


@contextmanager
def damaged_hdf5(path: Path, advice: str = "copy or download it again") -> Iterator[None]:
    """Context manager that turns every error of h5py into an ``InputError`` about a damaged file.

    h5py raises many kinds of errors, depending on the place of the damage.

    Args:
        path: the file that is read inside.
        advice: next step for the user, the end of the error message.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if has_cause(error):
            raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
        why = str(error) or type(error).__name__
        raise InputError(f"{path}: damaged HDF5 structure ({why:.200}); {advice}") from error


def own_member(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """A group or dataset below ``group`` that lies in the same file; ``None`` if it is missing.

    Args:
        path: the file, for the message.
        group: group in which to look.
        name: path below ``group``, parts separated by ``/``.

    Raises:
        InputError: when the name leads to another file, the bytes of the dataset lie in another
            file, its filter is not safe, or its chunks are too large.
    """
    member: h5py.Group | h5py.Dataset | None = group
    for part in name.split("/"):
        link = (
            member.get(part, getlink=True)
            if isinstance(member, h5py.Group) and part in member.keys()
            else None
        )
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise InputError(
                f"{path}: {name} is a link to {link.path!r}; write the data into this file itself"
            )
        member = member[part]
    if isinstance(member, h5py.Dataset):
        elsewhere = [entry[0] for entry in member.external or ()]
        elsewhere += [
            source.file_name for source in (member.virtual_sources() if member.is_virtual else ())
        ]
        if elsewhere:
            raise InputError(
                f"{path}: {name} lies in another file, {elsewhere[0]!r}; write the data into this "
                "file itself"
            )
        _check_filters(path, name, member)
        _check_chunks(path, name, member)
    return member


def _check_filters(path: Path, name: str, data: h5py.Dataset) -> None:
    settings = data.id.get_create_plist()
    for code in (settings.get_filter(i)[0] for i in range(settings.get_nfilters())):
        if code not in FILTERS and h5py.h5z.filter_avail(code):
            raise InputError(
                f"{path}: {name} is compressed with HDF5 filter {code}, whose library may crash on "
                "a damaged file; if you trust the file, rewrite it: h5repack -f GZIP=1 IN OUT"
            )


def _check_chunks(path: Path, name: str, data: h5py.Dataset) -> None:
    num_bytes = math.prod(data.chunks or ()) * data.dtype.itemsize
    if num_bytes > MAX_CHUNK_BYTES:
        raise InputError(
            f"{path}: {name} has chunks of {num_bytes >> 20:,} MiB, expected at most "
            f"{MAX_CHUNK_BYTES >> 20}; rewrite the file: h5repack -l CHUNK=65536 IN OUT"
        )


def load_array(
    path: Path,
    member: str | None = None,
    advice: str = "copy it again",
    read: Callable[[Path], bytes] | None = None,
) -> np.ndarray:
    """Read the array of a ``.npy`` file or a member of a ``.npz`` file; Python objects are refused.

    Args:
        path: the file.
        member: name of the array in a ``.npz`` file. Default: ``path`` is a ``.npy`` file.
        advice: next step for the user, the end of the error message.
        read: gives the content of the file, which is then not opened. Default: none.

    Raises:
        InputError: when the array cannot be read.
    """
    check_is_file(path)
    try:
        with io.BytesIO(read(path)) if read else path.open("rb") as whole:
            if member is None:
                return read_array(whole, path.stat().st_size)
            with open_archive(path, whole) as archive, archive.open(f"{member}.npy") as file:
                return read_array(file, archive.getinfo(f"{member}.npy").file_size)
    except Exception as error:  # a damaged header may raise any error
        if has_cause(error):
            raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
        if is_lfs_pointer(path):
            raise InputError(f"{path}: {LFS_POINTER}") from error
        why = str(error) or type(error).__name__
        raise InputError(
            f"{path}: not a readable {path.suffix} file ({why:.200}); {advice}"
        ) from error
