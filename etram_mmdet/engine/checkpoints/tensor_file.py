"""Read a file that ``torch.save`` wrote, without executing anything in it.

Such a file is a zip archive: a pickle of the structure, and one record of raw bytes for each
tensor. A pickle is a program for a small machine with a stack, and Python's machine calls whatever
function the program names. The one here calls nothing: it knows the few names that tensors and
plain values need, and makes nothing that the file does not hold. PyTorch's own machine lets a small
file take all memory or crash the interpreter: ``torch.load(weights_only=True)`` allows
``bytearray(10**12)`` and, with NumPy's names allowed, a crafted dtype.
"""

from __future__ import annotations

import pickletools
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.kinds import check_kind

# Reading the structure takes about half a second per MiB. That of a checkpoint takes a tenth of a
# MiB.
MAX_STRUCTURE_BYTES = 16 << 20
MAX_TENSORS = 100_000
MAX_INTEGER = 2**62
MAX_KEY = 2**31  # of whole numbers as keys: larger ones can be chosen so that a dict takes hours
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

_NOT_THIS_FORMAT = (
    "not a file that PyTorch 1.6 or newer saved; load it where it was made and save it again"
)


class Refused(Exception):
    """The reason for which a file is not read, as the end of a sentence."""


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
            return _read(archive, path, unknown == "ignore")
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


def _read(archive: zipfile.ZipFile, path: Path, ignores: bool) -> object:
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
    return Machine(archive, f"{folder}data/", ignores).run(archive.read(pickles[0]))


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


class _Name:
    """Name of a function or class that a program calls, and nothing else."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Inert:
    """Placeholder for an object of an unknown class."""

    __slots__ = ()


class _Float64:
    """NumPy's dtype of the one NumPy number in checkpoints of this project's first version."""

    __slots__ = ()


class Machine:
    """Runs the program of one file.

    Args:
        archive: the file.
        records: folder of its storages inside the archive.
        ignores: whether :class:`Inert` replaces unknown objects, instead of refusing the file.
    """

    def __init__(self, archive: zipfile.ZipFile, records: str, ignores: bool) -> None:
        self._archive = archive
        self._records = records
        self._ignores = ignores
        self._stack: list[object] = []
        self._marks: list[list[object]] = []  # the stacks below each mark
        self._memo: dict[int, object] = {}
        self._storages: dict[str, Tensor] = {}  # a file may name one of them a thousand times
        self._num_tensors = 0
        self._num_copied = 0

    def run(self, program: bytes) -> object:
        for opcode, argument, _ in pickletools.genops(program):
            step = getattr(self, f"_do_{opcode.name.lower()}", None)
            if opcode.name in _PUSHES:
                self._stack.append(self._plain(argument))
            elif opcode.name in _MAKES:
                self._stack.append(_MAKES[opcode.name]())
            elif step is not None:
                step(argument)
            elif opcode.name not in ("PROTO", "FRAME"):
                raise Refused(f"it holds the step {opcode.name}, which torch.save does not write")
        (result,) = self._stack
        return result

    def _unknown(self, what: str) -> Inert:
        if not self._ignores:
            raise Refused(
                f"because reading it needs {what:.80}, which is no tensor and no plain value. "
                "Convert a checkpoint of RVT or eTraM with tools/convert_rvt.py"
            )
        return Inert()

    def _plain(self, value: object) -> object:
        if type(value) is int and abs(value) > MAX_INTEGER:
            return self._unknown("a whole number of more than 62 bits")
        if type(value) is str and not value.isascii():
            value.encode()  # raises for half a character, which no terminal and no file takes
        return value

    def _copied(self, length: int) -> None:
        """Count copied bytes, since a program may copy the same content a thousand times."""
        self._num_copied += length
        if self._num_copied > MAX_COPIED_BYTES:
            raise Refused("it copies the same content again and again")

    # Steps, by the names that pickletools gives them.

    def _do_stop(self, _: None) -> None: ...

    def _do_none(self, _: None) -> None:
        self._stack.append(None)

    def _do_newtrue(self, _: None) -> None:
        self._stack.append(True)

    def _do_newfalse(self, _: None) -> None:
        self._stack.append(False)

    def _do_mark(self, _: None) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[object]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _do_pop(self, _: None) -> None:
        self._stack.pop()

    def _do_binput(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    _do_long_binput = _do_put = _do_binput

    def _do_memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_binget(self, number: int) -> None:
        self._stack.append(self._memo[number])

    _do_long_binget = _do_get = _do_binget

    def _do_tuple(self, _: None) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def _do_tuple1(self, _: None) -> None:
        self._stack[-1:] = [tuple(self._stack[-1:])]

    def _do_tuple2(self, _: None) -> None:
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _do_tuple3(self, _: None) -> None:
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _do_append(self, _: None) -> None:
        self._extend([self._stack.pop()])

    def _do_appends(self, _: None) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[object]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Inert:
            raise Refused(f"it appends to a {type(target).__name__}")

    def _do_setitem(self, _: None) -> None:
        value = self._stack.pop()
        self._set_items([self._stack.pop(), value])

    def _do_setitems(self, _: None) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, items: list[object]) -> None:
        target = self._stack[-1]
        if type(target) is not dict and type(target) is not Inert:
            raise Refused(f"it sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is str or (type(key) is int and abs(key) < MAX_KEY):
                if type(target) is dict:
                    target[key] = value
            else:
                self._unknown(f"a {type(key).__name__} as key")

    def _do_global(self, names: str) -> None:
        self._stack.append(_Name(*names.split(" ", 1)))

    def _do_stack_global(self, _: None) -> None:
        name = self._stack.pop()
        module = self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise Refused("it names a function by something that is no text")
        self._stack.append(_Name(module, name))

    def _do_reduce(self, _: None) -> None:
        arguments = self._stack.pop()
        function = self._stack.pop()
        if type(function) is Inert:
            self._stack.append(function)
        elif type(function) is not _Name or type(arguments) is not tuple:
            raise Refused(f"it calls a {type(function).__name__}")
        else:
            self._stack.append(self._called(function, arguments))

    _do_newobj = _do_reduce

    def _do_build(self, _: None) -> None:
        """Leave out attributes of PyTorch's dicts, and refuse changes of any other object."""
        change = self._stack.pop()
        target = self._stack[-1]
        if type(target) is _Float64:
            if type(change) is not tuple or len(change) < 2 or change[1] != "<":
                raise Refused("it holds a NumPy number of another byte order")
        elif type(target) not in (dict, Inert):
            raise Refused(f"it tries to change a {type(target).__name__.strip('_').lower()}")

    def _do_binpersid(self, _: None) -> None:
        """A storage, as a flat tensor."""
        kind, storage, key, _, numel = self._stack.pop()
        if (
            kind != "storage"
            or type(key) is not str
            or type(storage) is not _Name
            or storage.module != "torch"
        ):
            raise Refused("it refers to something that is no storage of a tensor")
        dtype = _DTYPE_OF_STORAGE.get(storage.name)
        if dtype is None:
            self._stack.append(self._unknown(str(storage)))
            return
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._records}{key}"))
            # never empty, since only memory that is not PyTorch's own keeps its size
            self._storages[key] = torch.frombuffer(content or bytearray(8), dtype=torch.uint8)[
                : len(content)
            ]
        content = self._storages[key]
        if type(numel) is not int or len(content) != numel * dtype.itemsize:
            raise Refused(
                f"storage {key:.40} claims {numel} numbers of {dtype}, but has {len(content)} bytes"
            )
        self._stack.append(content.view(dtype))

    def _called(self, function: _Name, arguments: tuple) -> object:
        known = _CALLS.get((function.module, function.name))
        if known is None or (function.module.startswith("numpy") and self._ignores):
            return self._unknown(str(function))
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

    def _dtype(self, code: object, *flags: object) -> _Float64:
        if code != "f8":
            raise Refused(
                f"because reading it needs NumPy's dtype {code!r:.20}, which is no plain value"
            )
        return _Float64()

    def _number(self, dtype: object, content: object) -> float:
        if type(dtype) is not _Float64 or type(content) is not bytes or len(content) != 8:
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


_PUSHES = set(
    """
    BININT BININT1 BININT2 LONG1 LONG4 INT LONG BINFLOAT FLOAT
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    """.split()
)
_MAKES = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": Inert}
_CALLS = {
    ("torch._utils", "_rebuild_tensor_v2"): Machine._tensor,
    ("torch._utils", "_rebuild_parameter"): Machine._parameter,
    ("collections", "OrderedDict"): Machine._dict,
    ("collections", "Counter"): Machine._dict,
    ("_codecs", "encode"): Machine._bytes,
    # One number in checkpoints of this project's first version. Files of other projects may hold
    # any kind; these are ignored.
    ("numpy", "dtype"): Machine._dtype,
    ("numpy._core.multiarray", "scalar"): Machine._number,
    ("numpy.core.multiarray", "scalar"): Machine._number,
}
