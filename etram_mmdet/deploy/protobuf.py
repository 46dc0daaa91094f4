"""Read the fields of Protocol Buffers messages without the package protobuf.

A message is a row of fields. Each has a number and a kind, which says how long its content is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """Place of a field in a file.

    Attributes:
        number: number of the field in its message.
        begin: place of the first byte of the field, its number.
        start: place of the first byte of the content; of a single number its end.
        stop: place behind the last byte.
    """

    number: int
    begin: int
    start: int
    stop: int


def fields_of(file: BinaryIO, start: int, stop: int) -> Iterator[Field]:
    """Yield the fields of a message, in order. The file may be moved between two of them.

    Args:
        file: the file.
        start: place of the first byte of the message.
        stop: place behind its last byte.

    Raises:
        ValueError: these bytes are no message.
        EOFError: the file ends in the middle of a field.
    """
    while start < stop:
        file.seek(start)
        number, kind = divmod(_varint(file), 8)
        if kind == _VARINT:
            _varint(file)
            length = 0
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            length = _varint(file) if kind == _BYTES else length
        content = file.tell()
        if not number or length is None or content + length > stop:
            raise ValueError("no field of a message")
        yield Field(number, start, content, content + length)
        start = content + length


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
