"""Read the metadata of an ONNX file without the package onnx and without loading its weights.

An ONNX file is a Protocol Buffers message ``ModelProto``. Its field 14 holds pairs of key and
value. A file of tools/export.py ends with a seal: a pair that holds the SHA-256 of all bytes before
it, so that a damaged weight is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from etram_mmdet.deploy.protobuf import Field, fields_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file, os_errors

SEAL_KEY = "etram_mmdet_sha256"
_METADATA = 14  # ModelProto.metadata_props, of messages with key = 1 and value = 2
_MOST_BYTES = 1 << 22  # of one entry
_BLOCK = 1 << 20
_ADVICE = "copy it again, or write it with tools/export.py CHECKPOINT OUT.onnx"
# Fields that lead from a model to its tensors: message -> number of a field -> message in it.
_PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL = 13  # TensorProto.external_data: where the values lie, if not in this file
_DEEPEST = 32  # graphs in nodes of graphs


def read_metadata(path: Path) -> dict[str, str]:
    """Keys and values in the metadata of an ONNX file, whose seal is checked if it has one.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, is no ONNX file, or has changed since it was sealed.
    """
    found = {}
    with _opened(path) as file:
        size_bytes = path.stat().st_size
        for field in fields_of(file, 0, size_bytes):
            if field.number == _METADATA and field.stop - field.start <= _MOST_BYTES:
                entry = _entry(file, field)
                found[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
                if entry.get(1) == SEAL_KEY.encode():
                    _check_seal(path, file, field.begin, found[SEAL_KEY], field.stop == size_bytes)
    return found


def check_self_contained(path: Path) -> None:
    """Refuse an ONNX file some of whose weights lie in other files.

    tools/export.py writes none. A file that somebody else made could read any file of this machine.

    Args:
        path: the file.

    Raises:
        InputError: weights lie in another file, or this is no ONNX file.
    """
    with _opened(path) as file:
        if _has_external(file, "model", 0, path.stat().st_size, _DEEPEST):
            raise InputError(
                f"{path}: some of its weights lie in another file, which is never opened; export "
                "the checkpoint again: tools/export.py CHECKPOINT OUT.onnx"
            )


def sealed(content: bytes) -> bytes:
    """The bytes of an ONNX file with a seal behind them.

    Args:
        content: the file, as protobuf writes it.
    """
    key = SEAL_KEY.encode()
    value = hashlib.sha256(content).hexdigest().encode()
    pair = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return content + bytes([_METADATA * 8 + 2, len(pair)]) + pair


def without_seal(path: Path) -> bytes:
    """The bytes of an ONNX file without its seals.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, or is no ONNX file.
    """
    with _opened(path) as file:
        parts = []
        for field in fields_of(file, 0, path.stat().st_size):
            is_short = field.number == _METADATA and field.stop - field.start <= _MOST_BYTES
            if not (is_short and _entry(file, field).get(1) == SEAL_KEY.encode()):
                file.seek(field.begin)
                parts.append(file.read(field.stop - field.begin))
    return b"".join(parts)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open the file, and say in a sentence that it is missing or no ONNX file."""
    check_is_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with os_errors(path, "read"), path.open("rb") as file:
            yield file
    except InputError:
        raise
    except (ValueError, EOFError):
        raise InputError(f"{path}: not an ONNX file, or a damaged one; {_ADVICE}") from None


def _entry(file: BinaryIO, message: Field) -> dict[int, bytes]:
    """Fields of a message that holds strings only, by number."""
    found = {}
    for field in fields_of(file, message.start, message.stop):
        file.seek(field.start)
        found[field.number] = file.read(field.stop - field.start)
    return found


def _check_seal(path: Path, file: BinaryIO, stop: int, expected: str, is_last: bool) -> None:
    digest = hashlib.sha256()
    file.seek(0)
    for start in range(0, stop, _BLOCK):
        digest.update(file.read(min(_BLOCK, stop - start)))
    if digest.hexdigest() != expected or not is_last:
        raise InputError(
            f"{path}: is damaged, or another program has changed it: its bytes are not those that "
            f"were written; {_ADVICE}. If you changed it on purpose: "
            f"python -m etram_mmdet.deploy.reseal {path}"
        )


def _has_external(file: BinaryIO, message: str, start: int, stop: int, depth: int) -> bool:
    if not depth:
        raise ValueError("too many graphs in each other")
    parts = _PARTS[message]
    for field in fields_of(file, start, stop):
        if message == "tensor" and field.number == _EXTERNAL:
            return True
        part = parts.get(field.number)
        if part and _has_external(file, part, field.start, field.stop, depth - 1):
            return True
    return False
