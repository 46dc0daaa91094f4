"""Open a recording of any known file format."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.events.choices import TimeUnit
from etram_mmdet.events.columns import Events
from etram_mmdet.events.formats.aedat4 import Aedat4Recording
from etram_mmdet.events.formats.columns import COLUMNS_ARE_KNOWN, given_places
from etram_mmdet.events.formats.dat import DatRecording
from etram_mmdet.events.formats.hdf5 import Hdf5Recording
from etram_mmdet.events.formats.numpy_files import NumpyRecording
from etram_mmdet.events.formats.raw import RawRecording
from etram_mmdet.events.formats.sorted import SortedRecording
from etram_mmdet.events.formats.text_files import TextRecording
from etram_mmdet.events.formats.unread import refuse_known, refuse_partial
from etram_mmdet.events.on_sensor import check_sensor
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file, os_errors
from etram_mmdet.utils.text import printable

__all__ = ["FORMATS", "Events", "Recording", "open_recording"]

_HEAD_BYTES = 4096
# A new format is one class here, tried in this order.
FORMATS: tuple[type[Recording], ...] = (
    Hdf5Recording,
    RawRecording,
    DatRecording,
    NumpyRecording,
    Aedat4Recording,
    TextRecording,
)


def open_recording(
    path: str | Path,
    sensor_px: tuple[int, int] | None = None,
    time_unit: TimeUnit = "us",
    sort: bool = False,
    columns: str | None = None,
) -> Recording:
    """Open a recording; its first bytes decide the file format, else its suffix.

    Args:
        path: the file.
        sensor_px: width and height of the sensor, for files that do not state them. Default: the
            smallest known sensor that the events fit into.
        time_unit: unit of the stamps in the file. Default: microseconds, or seconds for stamps with
            fractions.
        sort: whether to read all events into memory and sort them by time, for files with another
            order. Default: False.
        columns: names of the columns of a text file or of an array (N, C), such as ``"x,y,p,t"``;
            columns with other names are not read. Default: found by the names in the file, else by
            their values.

    Raises:
        InputError: when the file cannot be read, or states another size than ``sensor_px``.
    """
    if sensor_px is not None:
        check_sensor(path, *sensor_px)
    recording = _open(Path(path), columns)
    if sensor_px is not None:
        recording.declare_sensor(*sensor_px)
    if time_unit != "us":
        recording.declare_time_unit(time_unit)
    if sort:
        recording = SortedRecording(recording)
    return recording


def _open(path: Path, columns: str | None) -> Recording:
    # Results contain the names of recordings, and JSON and terminals accept text only.
    if printable(path.name) != path.name:
        raise InputError(f"{printable(str(path))}: its name is not UTF-8; rename the file")
    check_is_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such recording; check the path")
    with os_errors(path, "read"), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or download it again")
    refuse_known(path, head)
    refuse_partial(path)
    suffix = path.suffix.lower()
    matching = [format_ for format_ in FORMATS if format_.begins(head)]
    # RAW and DAT begin alike.
    matching.sort(key=lambda format_: suffix not in format_.suffixes)
    if matching:
        return _opened(matching[0], path, columns)
    for format_ in FORMATS:
        if suffix in format_.suffixes:
            expected = (
                f"expected {format_.signature!r}"
                if format_.signature
                else "expected lines of t x y p"
            )
            raise InputError(
                f"{path}: not a {format_.__name__} file (it starts with {head[:8]!r}, {expected}); "
                "copy or download it again"
            )
    known = ", ".join(suffix for format_ in FORMATS for suffix in format_.suffixes)
    raise InputError(f"{path}: unknown recording format {path.suffix!r}; expected one of {known}")


def _opened(format_: type[Recording], path: Path, columns: str | None) -> Recording:
    if columns is None:
        return format_(path)
    places = given_places(columns)
    if not format_.takes_columns:
        raise InputError(f"{path}: {COLUMNS_ARE_KNOWN}")
    return format_(path, places)
