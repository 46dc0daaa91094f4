"""Layouts of HDF5 files: places of the events, the sensor's size and the clock's offset."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from etram_mmdet.events.columns import find_column
from etram_mmdet.events.formats.array_files import own_member
from etram_mmdet.events.formats.columns import COLUMNS_ARE_KNOWN, likely_places
from etram_mmdet.events.formats.sensors import DSEC_PX, stated_px
from etram_mmdet.events.limits import MAX_TIME_US, expands_too_much
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.lazy import LazyModule

h5py = LazyModule("h5py", "h5py hdf5plugin")

# Tables of eTraM, RVT, DSEC and v2e; of Metavision; of M3ED; of MVSEC.
_TABLES = ("events", "CD/events", "prophesee/left", "davis/left/events")
# Order of an array's columns; in other tables the values show it.
_ORDER_OF = {"davis/left/events": "xytp"}
_HEAD = 1000  # rows from which the columns are guessed
_SIZE_MEMBERS = ("width", "height", "calib/resolution", "sensor_resolution")

if TYPE_CHECKING:
    Table = h5py.Group | h5py.Dataset
Places = tuple[int, ...] | None


class Column(NamedTuple):
    """One of the columns t, x, y and p in an HDF5 file.

    Attributes:
        data: the dataset.
        part: field name or column number in the dataset; ``None`` if the whole dataset is the
            column.
    """

    data: h5py.Dataset
    part: str | int | None

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype[self.part] if isinstance(self.part, str) else self.data.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        if self.part is None:
            return self.data[start:stop]
        if isinstance(self.part, str):
            return self.data.fields(self.part)[start:stop]
        return self.data[start:stop, self.part]


def find_table(path: Path, file: h5py.File) -> tuple[str, Table]:
    """Find the group or dataset of the events, and its name in the file.

    Args:
        path: the file, for the message.
        file: the open file.

    Raises:
        InputError: when no known place holds t, x, y and p.
    """
    for name in _TABLES:
        table = own_member(path, file, name)
        if table is not None and (
            _column_names(table) is None or None not in _column_places(_column_names(table))
        ):
            return name, table
    found = {n: own_member(path, file, n) for n in ("events", "CD") if n in file}
    held = ", ".join(
        [f"{n}/{{{','.join(g)}}}" for n, g in found.items() if isinstance(g, h5py.Group)] or file
    )
    raise InputError(
        f"{path}: no events with t, x, y and p (the file holds {held or 'nothing'}); expected the "
        "layout of eTraM (events/{t,x,y,p}), Metavision (CD/events), v2e, M3ED or MVSEC"
    )


def _column_names(table: Table) -> list[str] | None:
    """Names of possible columns; ``None`` for an array of numbers (N, 4 or more) without names."""
    if isinstance(table, h5py.Group):
        return list(table.keys())
    is_plain = table.ndim == 2 and table.shape[1] >= 4 and table.dtype.kind in "iuf"
    return None if is_plain else list(table.dtype.names or ())


def _column_places(names: list[str]) -> list[int | None]:
    return [find_column(name, names) for name in "txyp"]


def columns_of(path: Path, name: str, table: Table, given: Places) -> dict[str, Column]:
    """Find and check the columns t, x, y and p.

    Args:
        path: the file, for the message.
        name: name of ``table`` in the file.
        table: group or dataset that :func:`find_table` found.
        given: column numbers of t, x, y and p in an array (N, C). Default: found by their values.

    Raises:
        InputError: when they are no columns of numbers, differ in length, or lie outside the file.
    """
    names = _column_names(table)
    if names is None:
        columns = {
            n: Column(table, place)
            for n, place in zip("txyp", _array_places(path, name, table, given), strict=True)
        }
    elif given is not None:
        raise InputError(f"{path}: {COLUMNS_ARE_KNOWN}")
    else:
        parts = [names[place] for place in _column_places(names)]
        if isinstance(table, h5py.Group):
            columns = {
                n: Column(own_member(path, table, part), None)
                for n, part in zip("txyp", parts, strict=True)
            }
            if not all(isinstance(column.data, h5py.Dataset) for column in columns.values()):
                raise InputError(
                    f"{path}: {name}/t, x, y, p must be arrays; export the recording again"
                )
        else:
            columns = {n: Column(table, part) for n, part in zip("txyp", parts, strict=True)}
    _check_columns(path, name, columns)
    return columns


def _array_places(path: Path, name: str, table: h5py.Dataset, given: Places) -> tuple[int, ...]:
    if given is None and name in _ORDER_OF:
        return tuple(map(_ORDER_OF[name].index, "txyp"))
    if given is None:
        return likely_places(path, table[:_HEAD, :4])
    if max(given) >= table.shape[1]:
        raise InputError(
            f"{path}: events has {table.shape[1]} columns; name that many with --event-columns"
        )
    return given


def _check_columns(path: Path, name: str, columns: dict[str, Column]) -> None:
    for each, column in columns.items():
        if column.dtype.kind not in "iufb" or (each == "t" and column.dtype.kind == "b"):
            raise InputError(
                f"{path}: {name}/{each} is {column.dtype}, expected numbers; convert the recording"
            )
    shapes = {each: column.data.shape for each, column in columns.items()}
    ndim = 2 if isinstance(columns["t"].part, int) else 1
    if len(set(shapes.values())) > 1 or any(len(shape) != ndim for shape in shapes.values()):
        raise InputError(
            f"{path}: t, x, y, p differ in length ({shapes}); the file was cut; export it again"
        )
    length = shapes["t"][0]
    holders = list({column.data.id: column.data for column in columns.values()}.values())
    if length and not all(holder.id.get_storage_size() for holder in holders):
        raise InputError(
            f"{path}: states {length} events, but holds none of them; copy or download it again"
        )
    claimed = sum(math.prod(holder.shape) * holder.dtype.itemsize for holder in holders)
    if expands_too_much(claimed, sum(holder.id.get_storage_size() for holder in holders)):
        raise InputError(
            f"{path}: states {length} events, but holds few of them; copy or download it again"
        )


def t_offset_us(path: Path, file: h5py.File) -> int:
    """Microseconds to add to every stamp, from ``t_offset`` in DSEC's files; 0 if it is missing.

    Args:
        path: the file, for the message.
        file: the open file.

    Raises:
        InputError: when ``t_offset`` is not one integer or too large.
    """
    member = own_member(path, file, "t_offset")
    if member is None:
        return 0
    if not isinstance(member, h5py.Dataset) or member.size != 1 or member.dtype.kind not in "iu":
        found = f"{member.dtype} {member.shape}" if isinstance(member, h5py.Dataset) else "a group"
        raise InputError(
            f"{path}: t_offset is {found}, expected one integer in microseconds; export it again"
        )
    offset_us = int(np.asarray(member).item())
    if abs(offset_us) > MAX_TIME_US:
        raise InputError(
            f"{path}: t_offset is {offset_us}, expected at most {MAX_TIME_US}; export it again"
        )
    return offset_us


def sensor_px(path: Path, file: h5py.File, table: Table) -> tuple[int, int] | None:
    """Width and height of the sensor, as the file states them; ``None`` if it does not.

    A file with ``t_offset`` is DSEC's, whose sensor is known.

    Args:
        path: the file, for the message.
        file: the open file.
        table: group or dataset of the events.
    """
    places: list[dict] = [table.attrs, file.attrs]
    for group in (table, file):
        if isinstance(group, h5py.Group):
            members = {each.split("/")[-1]: own_member(path, group, each) for each in _SIZE_MEMBERS}
            is_small = {
                n: m for n, m in members.items() if isinstance(m, h5py.Dataset) and m.size in (1, 2)
            }
            places.insert(0, {n: np.asarray(m) for n, m in is_small.items()})
    found = next((size for size in map(stated_px, places) if size), None)
    return found or (DSEC_PX if "t_offset" in file else None)


def notes(path: Path, file: h5py.File, name: str) -> tuple[str, ...]:
    """Sentences about content of the file or its folder that is not used, for the user.

    Args:
        path: the file.
        file: the open file.
        name: name of the table of events in the file.
    """
    found = []
    camera = name.split("/")[0]
    if name.startswith(f"{camera}/left") and f"{camera}/right" in file:
        found.append("the left camera's events are read, those of the right are not")
    if "t_offset" in file and path.with_name("rectify_map.h5").is_file():
        found.append(
            "rectify_map is not used: pixels are those of the sensor, with the lens's distortion"
        )
    return tuple(found)
