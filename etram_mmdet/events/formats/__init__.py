"""Open a recording of any known file format."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.events.choices import TimeUnit
from etram_mmdet.events.formats.dat import DatRecording
from etram_mmdet.events.formats.hdf5 import Hdf5Recording
from etram_mmdet.events.formats.numpy_files import NumpyRecording
from etram_mmdet.events.formats.raw import RawRecording
from etram_mmdet.events.formats.sorted import SortedRecording
from etram_mmdet.events.formats.text_files import TextRecording
from etram_mmdet.events.formats.unread import refuse_known
from etram_mmdet.events.recording import Events, Recording, check_sensor
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file, os_errors
from etram_mmdet.utils.text import printable

__all__ = ["FORMATS", "Events", "Recording", "open_recording"]

_HEAD_BYTES = 4096
# A new format is one class here, tried in this order.
FORMATS: tuple[type[Recording], ...] = (Hdf5Recording, RawRecording, DatRecording, NumpyRecording, TextRecording)


def open_recording(
    path: str | Path, sensor_px: tuple[int, int] | None = None, time_unit: TimeUnit = "us", sort: bool = False
) -> Recording:
    """Open a recording with the format that its first bytes name, else its suffix; raises ``InputError``.

    ``sensor_px`` (width, height) is for files that do not say how large the sensor is; one that says otherwise is
    refused. ``time_unit`` is what the stamps of the file count. ``sort`` reads all events into memory, in the order of
    their time, for files that hold them in another.
    """
    if sensor_px is not None:
        check_sensor(path, *sensor_px)
    recording = _open(Path(path))
    if sensor_px is not None:
        recording.declare_sensor(*sensor_px)
    if time_unit != "us":
        recording.declare_time_unit(time_unit)
    if sort:
        recording = SortedRecording(recording)
    return recording


def _open(path: Path) -> Recording:
    if printable(path.name) != path.name:  # results name recordings, and JSON and terminals take text only
        raise InputError(f"{printable(str(path))}: its name is not UTF-8; rename the file")
    check_is_file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such recording; check the path")
    with os_errors(path, "read"), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or download it again")
    refuse_known(path, head)
    suffix = path.suffix.lower()
    matching = [format_ for format_ in FORMATS if format_.begins(head)]
    # RAW and DAT begin alike.
    matching.sort(key=lambda format_: suffix not in format_.suffixes)
    if matching:
        return matching[0](path)
    for format_ in FORMATS:
        if suffix in format_.suffixes:
            expected = f"expected {format_.signature!r}" if format_.signature else "expected lines t x y p"
            raise InputError(
                f"{path}: not a {format_.__name__} file (it starts with {head[:8]!r}, {expected}); "
                "copy or download it again"
            )
    known = ", ".join(suffix for format_ in FORMATS for suffix in format_.suffixes)
    raise InputError(f"{path}: unknown recording format {path.suffix!r}; expected one of {known}")
