"""Read a file that ``torch.save`` wrote, without executing anything that stands in it.

Such a file is a zip archive: a pickle of the structure beside one record of raw bytes for each tensor. A pickle is a
program that may call any function. The reader here knows the few names that tensors and plain values need. It never
hands out a function or class of PyTorch or NumPy, so a file cannot change one either.

``torch.load(weights_only=True)`` is not enough for files of strangers: it lets them call ``bytearray(10**12)``, and
with NumPy's names allowed a crafted dtype ends the interpreter.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from etram_mmdet.events.array_files import check_is_file
from etram_mmdet.events.errors import InputError

_DTYPE_OF_STORAGE = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# Reading the structure takes about a second per MiB. That of a checkpoint takes a tenth of one.
MAX_STRUCTURE_BYTES = 32 << 20
_NOT_THIS_FORMAT = "not a file that PyTorch 1.6 or newer saved; load it where it was made and save it again"


def read_tensor_file(path: str | Path, unknown: str = "refuse") -> object:
    """The content of a file of ``torch.save``: dicts, lists, tuples, strings, numbers and tensors on the CPU.

    Args:
        path: the file.
        unknown: what to do with objects of other classes: ``refuse`` the file, or ``ignore`` them, which puts an
            object without content in their place.

    Raises:
        InputError: the file is missing, damaged, of another format or, with ``refuse``, holds other objects.
    """
    path = Path(path)
    check_is_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path, _Inert if unknown == "ignore" else None)
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path}: not a readable checkpoint ({error}); {_NOT_THIS_FORMAT}, or copy it again"
        ) from error
    except _Refused as error:
        raise InputError(f"{path}: refused, {error}") from error
    except Exception as error:  # damage ends a pickle with whatever error the place of it makes
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a readable checkpoint ({first}); copy or download it again") from error


class _Refused(Exception):
    """Why a file is not read, as the end of a sentence."""


def _read(archive: zipfile.ZipFile, path: Path, stand_in: type | None) -> object:
    names = archive.namelist()
    if any(name.endswith("constants.pkl") for name in names):
        raise _Refused("it is a TorchScript program; save its state_dict instead")
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _Refused(f"it holds {len(pickles)} records data.pkl, expected 1: {_NOT_THIS_FORMAT}")
    # Records are stored as they are. A compressed or overlapping one would grow beyond the file when it is read.
    stored_bytes = sum(record.file_size for record in archive.infolist())
    if stored_bytes > path.stat().st_size:
        raise _Refused(f"its records claim {stored_bytes} bytes, but the file has {path.stat().st_size}")
    if archive.getinfo(pickles[0]).file_size > MAX_STRUCTURE_BYTES:
        raise _Refused(f"its data.pkl is larger than {MAX_STRUCTURE_BYTES >> 20} MiB")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise _Refused("it was saved on a machine of another byte order; load and save it again there")
    program = archive.read(pickles[0])
    _check_memo(program)
    return _Reader(program, archive, f"{folder}data/", stand_in).load()


def _check_memo(program: bytes) -> None:
    """Python's unpickler makes a table as long as the largest number that a file gives to an object."""
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(program):
            raise _Refused(f"it numbers an object {argument}, more than it can hold")


class _Reader(pickle.Unpickler):
    """Knows a few names and the storages; a class ``stand_in`` takes the place of others, ``None`` refuses them."""

    def __init__(self, program: bytes, archive: zipfile.ZipFile, records: str, stand_in: type | None) -> None:
        super().__init__(io.BytesIO(program), encoding="utf-8")
        self._archive = archive
        self._records = records
        self._stand_in = stand_in
        self._storages: dict[str, Tensor] = {}  # a file may name one of them a thousand times

    def find_class(self, module: str, name: str) -> object:
        known = _KNOWN.get((module, name)) or (_NUMPY.get((module, name)) if self._stand_in is None else None)
        if known is not None:
            return _Call(known)
        if module == "torch" and name in _DTYPE_OF_STORAGE:
            return _Storage(_DTYPE_OF_STORAGE[name])
        if self._stand_in is None:
            raise _Refused(f"because reading it needs {module}.{name}, which is no tensor and no plain value")
        return type(self._stand_in.__name__, (self._stand_in,), {})  # fresh, so that a file can change no other

    def persistent_load(self, reference: tuple) -> Tensor:
        """The bytes of a storage as a flat tensor."""
        kind, storage, key, _, numel = reference
        if kind != "storage" or not isinstance(storage, _Storage) or not isinstance(key, str):
            raise _Refused("it refers to something that is no storage of a tensor")
        if key not in self._storages:
            self._storages[key] = self._read_storage(key)
        content = self._storages[key]
        if len(content) != numel * storage.dtype.itemsize:
            raise _Refused(f"storage {key} claims {numel} numbers of {storage.dtype}, but has {len(content)} bytes")
        return content.view(storage.dtype)

    def _read_storage(self, key: str) -> Tensor:
        content = bytearray(self._archive.read(f"{self._records}{key}"))
        return torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


class _Call:
    """A function under a name in a pickle; it can be called and nothing else."""

    __slots__ = ("_function",)

    def __init__(self, function: object) -> None:
        self._function = function

    def __call__(self, *args: object) -> object:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise _Refused("it tries to change a function")


class _Storage:
    """A class of storages under its name in a pickle."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: object) -> None:
        raise _Refused("it tries to change a class")


class _Dict(dict):
    """An ``OrderedDict`` or ``Counter`` of a pickle; the attributes that PyTorch gives to it are left out."""

    def __setstate__(self, state: object) -> None: ...


class _Float64:
    """The dtype of the one NumPy number in checkpoints of this project's first version."""

    def __init__(self, code: str, *flags: object) -> None:
        if code != "f8":
            raise _Refused(f"because reading it needs NumPy's dtype {code!r}, which is no plain value")

    def __setstate__(self, state: tuple) -> None:
        if state[1] != "<":
            raise _Refused(f"it holds a NumPy number of byte order {state[1]!r}")


def _numpy_float(dtype: object, content: object) -> float:
    if not isinstance(dtype, _Float64) or not isinstance(content, bytes) or len(content) != 8:
        raise _Refused("it holds a NumPy number that is not eight bytes of float64")
    return struct.unpack("<d", content)[0]


def _tensor(storage: object, offset: int, size: tuple, stride: tuple, *unused: object) -> Tensor:
    """A view of a storage; PyTorch itself refuses one that reaches beyond it."""
    if not isinstance(storage, Tensor) or storage.dim() != 1:
        raise _Refused("it builds a tensor from something that is no storage")
    view = storage.as_strided(size, stride, offset)
    if view.numel() > storage.numel():
        raise _Refused(f"it holds a tensor of {view.numel()} numbers, of which only {storage.numel()} are there")
    return view


def _parameter(data: object, *unused: object) -> object:
    return data


def _bytes(text: str, encoding: str) -> bytes:
    return text.encode("latin1") if encoding == "latin1" else b""


_KNOWN = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _Dict,
    ("collections", "Counter"): _Dict,
    ("_codecs", "encode"): _bytes,
}
# One number in checkpoints of this project's first version. Foreign files hold all kinds, none of which is wanted.
_NUMPY = {
    ("numpy", "dtype"): _Float64,
    ("numpy._core.multiarray", "scalar"): _numpy_float,
    ("numpy.core.multiarray", "scalar"): _numpy_float,
}


class _Inert:
    """Accepts whatever a pickle does with an object and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __call__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def __hash__(self) -> int:
        return id(self)

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...
