"""Values that a checkpoint may hold, made from its records; see :mod:`tensor_file`."""

from __future__ import annotations

import struct
import zipfile

import torch
from torch import Tensor

MAX_TENSORS = 100_000
MAX_INTEGER = 2**62
MAX_COPIED_BYTES = 16 << 20
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


class Refused(Exception):
    """The reason for which a file is not read, as the end of a sentence."""


class Name:
    """Name of a function or class that a program calls, and nothing else.

    Args:
        module: module of the function or class.
        name: its name there.
    """

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Inert:
    """Placeholder for an object of an unknown class."""

    __slots__ = ()


class Float64:
    """NumPy's dtype of the one NumPy number in checkpoints of this project's first version."""

    __slots__ = ()


class StoredValues:
    """The values of one file: storages, tensors, dicts, bytes and one kind of NumPy number.

    Args:
        archive: the file.
        records: folder of its storages inside the archive.
        ignores: whether :class:`Inert` replaces unknown objects, instead of refusing the file.
    """

    def __init__(self, archive: zipfile.ZipFile, records: str, ignores: bool) -> None:
        self._archive = archive
        self._records = records
        self._ignores = ignores
        self._storages: dict[str, Tensor] = {}  # a file may name one of them a thousand times
        self._num_tensors = 0
        self._num_copied = 0

    def unknown(self, what: str) -> Inert:
        """Refuse the file because of an unknown object, or put :class:`Inert` in its place."""
        if not self._ignores:
            raise Refused(
                f"because reading it needs {what:.80}, which is no tensor and no plain value. "
                "Convert a checkpoint of RVT or eTraM with tools/convert_rvt.py"
            )
        return Inert()

    def plain(self, value: object) -> object:
        """A number or text of the program, unchanged unless it is out of range."""
        if type(value) is int and abs(value) > MAX_INTEGER:
            return self.unknown("a whole number of more than 62 bits")
        if type(value) is str and not value.isascii():
            value.encode()  # raises for half a character, which no terminal and no file takes
        return value

    def _copied(self, length: int) -> None:
        """Count copied bytes, since a program may copy the same content a thousand times."""
        self._num_copied += length
        if self._num_copied > MAX_COPIED_BYTES:
            raise Refused("it copies the same content again and again")

    def storage(self, word: object, kind: object, key: object, numel: object) -> object:
        """A storage, as a flat tensor."""
        if (
            word != "storage"
            or type(key) is not str
            or type(kind) is not Name
            or kind.module != "torch"
        ):
            raise Refused("it refers to something that is no storage of a tensor")
        dtype = _DTYPE_OF_STORAGE.get(kind.name)
        if dtype is None:
            return self.unknown(str(kind))
        content = self._bytes_of(key)
        if type(numel) is not int or len(content) != numel * dtype.itemsize:
            raise Refused(
                f"storage {key:.40} claims {numel} numbers of {dtype}, but has {len(content)} bytes"
            )
        return content.view(dtype)

    def _bytes_of(self, key: str) -> Tensor:
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._records}{key}"))
            # never empty, since only memory that is not PyTorch's own keeps its size
            self._storages[key] = torch.frombuffer(content or bytearray(8), dtype=torch.uint8)[
                : len(content)
            ]
        return self._storages[key]

    def made(self, function: Name, arguments: tuple) -> object:
        """What a function would make of some arguments, if it is one of the known ones."""
        known = _CALLS.get((function.module, function.name))
        if known is None or (function.module.startswith("numpy") and self._ignores):
            return self.unknown(str(function))
        return known(self, *arguments)

    def _tensor(
        self, storage: object, offset: int, size: tuple, stride: tuple, *unused: object
    ) -> object:
        """A part of a storage; PyTorch itself refuses one that reaches beyond it."""
        if type(storage) is Inert:
            return storage
        if type(storage) is not Tensor or storage.dim() != 1:
            raise Refused("it builds a tensor from something that is no storage")
        self._num_tensors += 1
        if self._num_tensors > MAX_TENSORS:
            raise Refused(f"it holds more than {MAX_TENSORS} tensors")
        view = storage.as_strided(size, stride, offset)
        if view.numel() > storage.numel():
            raise Refused(
                f"it holds a tensor of {view.numel()} numbers, but only {storage.numel()} of them"
            )
        # an optimizer assumes that its moments are dense
        return view if _is_dense(view) else view.contiguous()

    def _parameter(self, data: object, *unused: object) -> object:
        return data

    def _dict(self, items: object = ()) -> dict:
        """An ``OrderedDict`` or ``Counter``."""
        if type(items) is dict:
            self._copied(100 * len(items))  # bytes of an entry
            return dict(items)
        if items != ():
            raise Refused("it builds a dict from something that is none")
        return {}

    def _bytes(self, text: object, encoding: object) -> bytes:
        if type(text) is not str or encoding != "latin1":
            raise Refused("it encodes text in a way that torch.save does not")
        self._copied(len(text))
        return text.encode("latin1")

    def _dtype(self, code: object, *flags: object) -> Float64:
        if code != "f8":
            raise Refused(
                f"because reading it needs NumPy's dtype {code!r:.20}, which is no plain value"
            )
        return Float64()

    def _number(self, dtype: object, content: object) -> float:
        if type(dtype) is not Float64 or type(content) is not bytes or len(content) != 8:
            raise Refused("it holds a NumPy number that is not eight bytes of float64")
        return struct.unpack("<d", content)[0]


def _is_dense(view: Tensor) -> bool:
    """Whether every number of its memory belongs to one place, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted(
        (s, n) for s, n in zip(view.stride(), view.shape, strict=True) if n != 1
    ):
        if stride != expected:
            return view.numel() == 0
        expected *= size
    return True


_CALLS = {
    ("torch._utils", "_rebuild_tensor_v2"): StoredValues._tensor,
    ("torch._utils", "_rebuild_parameter"): StoredValues._parameter,
    ("collections", "OrderedDict"): StoredValues._dict,
    ("collections", "Counter"): StoredValues._dict,
    ("_codecs", "encode"): StoredValues._bytes,
    # One number in checkpoints of this project's first version. Files of other projects may hold
    # any kind; these are ignored.
    ("numpy", "dtype"): StoredValues._dtype,
    ("numpy._core.multiarray", "scalar"): StoredValues._number,
    ("numpy.core.multiarray", "scalar"): StoredValues._number,
}
