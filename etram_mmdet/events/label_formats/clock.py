"""Time stamps of label files: their unit, and their conversion to microseconds."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etram_mmdet.events.choices import LabelUnit
from etram_mmdet.events.limits import MAX_ROWS, MAX_TIME_US, beyond_time
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

US_PER = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
MAP_NAME = "frames.csv"  # in a folder; for a film or label file NAME it is NAME_frames.csv
FRAME_TIMES_COLUMNS = ("frame", "t_us")
# Median step between the times of a file, from which the unit is guessed: labels come at 0.4 to 400
# Hz.
_STEPS = (("s", 0.0, 2.5), ("ms", 2.5, 2_500.0), ("us", 2_500.0, 2.5e6), ("ns", 2.5e6, np.inf))


@dataclass(frozen=True, eq=False)
class Clock:
    """Converts the time stamps of a label file to microseconds and back.

    Args:
        unit: ``frames`` of a video, or a unit of time. Default: microseconds.
        frames_per_s: frame rate of the video. Only for ``frames``.
        frame_us: (F, 2) number and time in microseconds of every frame, as :func:`read_frame_times`
            gives them. Only for ``frames``.
        offset_us: microseconds that are added to every time. Default: 0.

    Raises:
        InputError: when ``frames`` comes with neither or both of ``frames_per_s`` and ``frame_us``,
            or another unit with one of them.
    """

    unit: LabelUnit = "us"
    frames_per_s: float | None = None
    frame_us: np.ndarray | None = None
    offset_us: int = 0

    def __post_init__(self) -> None:
        given = [self.frames_per_s is not None, self.frame_us is not None]
        if self.unit == "frames" and sum(given) != 1:
            raise InputError(
                "labels that count frames need the times of the frames: give either --fps N "
                "(frames a second, the first at 0), or --frame-times FILE (a CSV file with the "
                "columns frame,t_us, as tools/export_frames.py writes it)"
            )
        if self.unit != "frames" and any(given):
            raise InputError(
                "--fps and --frame-times are for labels that count frames; the times of these "
                f"labels are in {self.unit}, so leave both out"
            )
        if self.frames_per_s is not None and not 0 < self.frames_per_s < np.inf:
            raise InputError(
                f"--fps {self.frames_per_s}: expected a number of frames a second above 0"
            )

    def to_us(self, stamps: np.ndarray) -> np.ndarray:
        """Convert stamps (N,) of the file to int64 microseconds.

        Raises:
            InputError: when a frame has no time, or a stamp is no possible time.
        """
        if self.frame_us is not None:
            times = self._look_up(stamps, 0, 1, "frame")
        elif self.unit == "frames":
            times = np.asarray(stamps, np.float64) * (1e6 / self.frames_per_s)
        elif stamps.dtype.kind in "iu":  # exact also beyond 2^53
            per = int(US_PER[self.unit]) or 1
            times = (
                stamps.astype(np.int64) * per
                if self.unit != "ns"
                else stamps.astype(np.int64) // 1000
            )
        else:
            times = stamps * US_PER[self.unit]
        beyond = beyond_time(times)
        if len(beyond):
            raise InputError(
                f"a label has the time {stamps[beyond[0]]:g} {self.unit}, which is impossible; "
                "correct the label file"
            )
        return np.rint(times).astype(np.int64) + self.offset_us

    def from_us(self, times_us: np.ndarray) -> np.ndarray:
        """Convert times (N,) in microseconds to stamps of the file, float64.

        Raises:
            InputError: when no frame has one of the times.
        """
        times = np.asarray(times_us, np.int64) - self.offset_us
        if self.frame_us is not None:
            return self._look_up(times, 1, 0, "time in us").astype(np.float64)
        if self.unit == "frames":
            return np.rint(times * (self.frames_per_s / 1e6))
        return times / US_PER[self.unit]

    def times_between(self, first: float, last: float) -> np.ndarray:
        """Times (F,) of all frames from ``first`` to ``last``, for a clock that counts frames.

        Raises:
            InputError: when there are more frames than a label file may hold.
        """
        if self.frame_us is not None:
            numbers = self.frame_us[:, 0]
            return np.unique(self.to_us(numbers[(numbers >= first) & (numbers <= last)]))
        if last - first >= MAX_ROWS:
            raise InputError(
                f"labels span frames {first:.0f} to {last:.0f}, expected at most {MAX_ROWS:,}"
            )
        return np.unique(self.to_us(np.arange(first, last + 1)))

    def _look_up(self, wanted: np.ndarray, by: int, get: int, what: str) -> np.ndarray:
        rows = self.frame_us[np.argsort(self.frame_us[:, by], kind="stable")]
        place = np.clip(np.searchsorted(rows[:, by], wanted), 0, len(rows) - 1)
        missing = np.flatnonzero(rows[place, by] != wanted)
        if len(missing):
            raise InputError(
                f"the map from frames to times has no {what} {wanted[missing[0]]:g} among its "
                f"{len(rows)} frames ({rows[0, by]} to {rows[-1, by]}); give the file that was "
                "written together with the labelled frames"
            )
        return rows[place, get]


def guess_unit(stamps: np.ndarray) -> LabelUnit:
    """Guess the unit of times: the one in which labels come at 0.4 to 400 Hz.

    Args:
        stamps: times (N,) of the labels. With fewer than two different times the guess is
            microseconds.
    """
    steps = np.diff(np.unique(stamps))
    step = float(np.median(steps)) if len(steps) else 2_500.0
    return next(unit for unit, low, high in _STEPS if low <= step < high)


def frame_times_beside(labels: Path, name: str | None = None) -> Path | None:
    """Find the file that maps frames to times, beside a label file or in a folder.

    It has the name that ``tools/export_frames.py`` gives it. ``None`` if there is no such file.

    Args:
        labels: label file, or a folder of YOLO files.
        name: name of the recording. Default: that of the label file without its suffix.
    """
    stem = labels.stem.removesuffix("_bbox") if name is None else name
    found = [labels / MAP_NAME, labels.with_name(f"{stem}_{MAP_NAME}")]
    return next((path for path in found if path.is_file()), None)


def read_frame_times(path: Path) -> np.ndarray:
    """Read the map from frame numbers to times, a CSV file with the columns ``frame,t_us``.

    Args:
        path: the file.

    Returns:
        (F, 2) int64: frame number and time in microseconds.

    Raises:
        InputError: when the file cannot be read, lacks a column, or holds a frame or time twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                [int(row[name]) for name in FRAME_TIMES_COLUMNS] for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path}: not a CSV file with whole numbers in the columns frame,t_us ({error}); write "
            "the file again"
        ) from error
    if any(abs(value) > MAX_TIME_US for row in rows for value in row):
        raise InputError(
            f"{path}: holds a number beyond {MAX_TIME_US}, which is neither a frame nor a time; "
            "write the file again"
        )
    pairs = np.array(rows, np.int64).reshape(-1, 2)
    for column, name in enumerate(FRAME_TIMES_COLUMNS):
        if len(np.unique(pairs[:, column])) < len(pairs):
            raise InputError(
                f"{path}: holds a {name} twice, expected one time for each frame; write the file "
                "again"
            )
    if not len(pairs):
        raise InputError(f"{path}: holds no frame; write the file again")
    return pairs


def write_frame_times(path: Path, frame_us: np.ndarray) -> None:
    """Write the file that :func:`read_frame_times` reads.

    Args:
        path: the new file.
        frame_us: (F, 2) frame number and time in microseconds.

    Raises:
        InputError: when ``path`` cannot be written.
    """
    with atomic_write(path) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FRAME_TIMES_COLUMNS)
        writer.writerows(np.asarray(frame_us, np.int64).tolist())
