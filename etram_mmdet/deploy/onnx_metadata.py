"""Read the metadata of an ONNX file without the package onnx and without loading its weights.

An ONNX file is a Protocol Buffers message ``ModelProto``. Its field 14 holds pairs of key and
value. All other fields are skipped.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file, os_errors

_METADATA = 14  # ModelProto.metadata_props, of messages with key = 1 and value = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_BYTES = 1 << 22  # of one entry


def read_metadata(path: Path) -> dict[str, str]:
    """Keys and values in the metadata of an ONNX file.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, or is no ONNX file.
    """
    check_is_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    found = {}
    try:
        with os_errors(path, "read"), path.open("rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                number, value = _field(file, size, wanted=_METADATA)
                if number == _METADATA:
                    entry = _entry(value)
                    found[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    except (ValueError, EOFError):
        raise InputError(
            f"{path}: not an ONNX file, or a damaged one; copy it again, or write it with "
            "tools/export.py CHECKPOINT OUT.onnx"
        ) from None
    return found


def _entry(message: bytes) -> dict[int, bytes]:
    """Fields of a message that holds strings only, by number."""
    file = io.BytesIO(message)
    fields = {}
    while file.tell() < len(message):
        number, value = _field(file, len(message))
        fields[number] = value
    return fields


def _field(file: BinaryIO, size: int, wanted: int | None = None) -> tuple[int, bytes]:
    """Number and content of the next field; the content of an unwanted one is skipped."""
    number, kind = divmod(_varint(file), 8)
    if kind == _VARINT:
        _varint(file)
        return number, b""
    length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
    if kind == _BYTES:
        length = _varint(file)
    if not number or length is None or file.tell() + length > size:
        raise ValueError("no field of a message")
    if wanted in (None, number) and length <= _MOST_BYTES:
        return number, file.read(length)
    file.seek(length, 1)
    return number, b""


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("number too long")
