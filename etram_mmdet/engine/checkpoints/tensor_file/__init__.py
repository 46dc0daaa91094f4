"""Read a file that ``torch.save`` wrote, without executing anything in it.

Such a file is a zip archive: a pickle of the structure, and one record of raw bytes for each
tensor. :class:`PickleMachine` runs that program without calling what it names, and
:class:`StoredValues` makes nothing that the file does not hold. PyTorch's own machine lets a small
file take all memory or crash the interpreter: ``torch.load(weights_only=True)`` allows
``bytearray(10**12)`` and, with NumPy's names allowed, a crafted dtype.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from etram_mmdet.engine.checkpoints.tensor_file.pickle_machine import PickleMachine
from etram_mmdet.engine.checkpoints.tensor_file.stored_values import Refused
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.kinds import check_kind

# Reading the structure takes about half a second per MiB. That of a checkpoint takes a tenth of a
# MiB.
MAX_STRUCTURE_BYTES = 16 << 20
_NOT_THIS_FORMAT = (
    "not a file that PyTorch 1.6 or newer saved; load it where it was made and save it again"
)


def read_tensor_file(path: str | Path, unknown: str = "refuse") -> object:
    """Read a file of ``torch.save``: dicts, lists, tuples, strings, numbers and CPU tensors.

    Args:
        path: the file.
        unknown: ``refuse`` a file with objects of other classes, or ``ignore`` them, which puts an
            object without content in their place. Default: refuse.

    Raises:
        InputError: the file is missing, damaged, of another format or, with ``refuse``, holds other
            objects.
    """
    path = Path(path)
    if not path.is_file():
        missing = "no such checkpoint; if its work folder was moved or copied, name that folder"
        raise InputError(f"{path}: {'is not a file' if path.exists() else missing}")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path, unknown == "ignore")
    except zipfile.BadZipFile as error:
        check_kind(path, "checkpoint")
        raise InputError(
            f"{path}: not a readable checkpoint ({error}); {_NOT_THIS_FORMAT}, or copy it again"
        ) from error
    except Refused as error:
        raise InputError(f"{path}: refused, {error}") from error
    except Exception as error:  # a damaged program may end with any error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: not a readable checkpoint ({first:.200}); copy or download it again"
        ) from error


def _read_archive(archive: zipfile.ZipFile, path: Path, ignores: bool) -> object:
    names = archive.namelist()
    if any(name.endswith("constants.pkl") for name in names):
        raise Refused("it is a TorchScript program; save its state_dict instead")
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused(f"it holds {len(pickles)} records data.pkl, expected 1: {_NOT_THIS_FORMAT}")
    _check_records(archive.infolist(), path.stat().st_size)
    if archive.getinfo(pickles[0]).file_size > MAX_STRUCTURE_BYTES:
        raise Refused(f"its data.pkl is larger than {MAX_STRUCTURE_BYTES >> 20} MiB")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise Refused(
            "it was saved on a machine of another byte order; load and save it again there"
        )
    machine = PickleMachine(archive, f"{folder}data/", ignores)
    return machine.run(archive.read(pickles[0]))


def _check_records(records: Iterable[zipfile.ZipInfo], file_bytes: int) -> None:
    """Refuse records that are compressed or overlap, since they could grow beyond the file.

    PyTorch stores records uncompressed.
    """
    total_bytes = 0
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise Refused(f"its record {record.filename!r:.60} is compressed; {_NOT_THIS_FORMAT}")
        total_bytes += record.file_size
    if total_bytes > file_bytes:
        raise Refused(f"its records claim {total_bytes} bytes, but the file has {file_bytes}")
