"""The text header of Prophesee's RAW and DAT files: lines that begin with a percent sign."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors

SIGNATURE = b"% "
LONGEST_HEADER_BYTES = 1 << 16
_LONGEST_NUMBER = 20  # digits


class PercentHeader(NamedTuple):
    """Text header of a Prophesee file.

    Attributes:
        fields: values by lower-case name.
        num_bytes: length of the header, so the position of the data.
    """

    fields: dict[str, str]
    num_bytes: int

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of the sensor if the header states them, else ``None``.

        Three forms are in use and read.
        """
        format_ = dict(re.findall(r"(\w+)=(\w+)", self.fields.get("format", "")))
        width, height = (format_.get(name) or self.fields.get(name) for name in ("width", "height"))
        if not width or not height:
            width, _, height = self.fields.get("geometry", "").partition("x")
        is_number = all(
            side.isdecimal() and len(side) <= _LONGEST_NUMBER for side in (width, height)
        )
        return (int(width), int(height)) if is_number else None


def parse_percent_header(head: bytes | bytearray, is_all: bool = False) -> PercentHeader | None:
    """Parse the lines at the start of a file or stream that begin with a percent sign.

    Args:
        head: its first bytes.
        is_all: whether no byte follows. Default: False.

    Returns:
        The header; ``None`` if it does not end within ``head``.
    """
    fields = {}
    start = 0
    name = ""
    while name != "end":
        if not head.startswith(SIGNATURE, start):
            may_follow = len(head) - start < len(SIGNATURE) and SIGNATURE.startswith(head[start:])
            if may_follow and not is_all:
                return None
            break
        stop = head.find(b"\n", start)
        if stop < 0:
            return None
        name, _, value = head[start + 2 : stop].decode("ascii", "replace").strip().partition(" ")
        fields[name.lower()] = value.strip()
        start = stop + 1
    return PercentHeader(fields, start)


def read_percent_header(path: Path) -> PercentHeader:
    """Read the header: the lines at the start of a file that begin with a percent sign.

    Args:
        path: a RAW or DAT file.

    Raises:
        InputError: when a line does not end, or the file cannot be read.
    """
    with os_errors(path, "read"), path.open("rb") as file:
        head = file.read(LONGEST_HEADER_BYTES)
    header = parse_percent_header(head, is_all=True)
    if header is None:
        raise InputError(
            f"{path}: its text header does not end; the file was cut, copy or download it again"
        )
    return header
