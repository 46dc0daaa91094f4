"""A raw recording with the oddities of published ones.

Some times go back, labels have gaps, and some boxes must be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tests.reference.formula import integers

WIDTH, HEIGHT = 1280, 720  # not in the files, as in eTraM's
# Padded to 40 bytes, as in Prophesee's label files.
PADDED_BBOX = np.dtype(
    dict(
        names=["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        formats=["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
        offsets=[0, 8, 12, 16, 20, 24, 28, 32],
        itemsize=40,
    )
)


@dataclass(frozen=True)
class RawRecording:
    split: str
    name: str
    num_events: int
    duration_us: int
    first_label_us: int
    labels_hz: int
    signed_polarity: bool  # -1 and 1 instead of 0 and 1
    late_label: int  # number of a label time that comes 2.5 ms late
    unlabelled_us: tuple[int, int] = (0, 0)
    silent_us: tuple[int, int] = (0, 0)  # events of this time all come at its start
    width: int = WIDTH
    height: int = HEIGHT
    num_classes: int = 8
    only_small_boxes: bool = False

    def events(self) -> dict[str, np.ndarray]:
        """Events of the recording.

        Half of them are in a region of 24x24 pixels, every tenth in one pixel and 5 ms.
        """
        count = self.num_events
        x = integers(f"{self.name} x", count, 0, self.width)
        y = integers(f"{self.name} y", count, 0, self.height)
        t = integers(f"{self.name} t", count, 0, self.duration_us)
        p = integers(f"{self.name} p", count, 0, 2)
        left = self.width * 600 // WIDTH
        top = self.height * 300 // HEIGHT
        x[::2] = left + x[::2] % 24
        y[::2] = top + y[::2] % 24
        x[::10] = left + 11
        y[::10] = top + 7
        t[::10] = self.duration_us // 2 + t[::10] % 5000
        silent_from, silent_to = self.silent_us
        t[(t >= silent_from) & (t < silent_to)] = silent_from
        by_time = np.argsort(t, kind="stable")
        t = t[by_time]
        t[50::100] = np.maximum(t[50::100] - 3000, 0)  # a hundredth is too early for its place
        return dict(
            t=t,
            x=x[by_time].astype(np.uint16),
            y=y[by_time].astype(np.uint16),
            p=(2 * p - 1 if self.signed_polarity else p)[by_time].astype(np.int16),
        )

    def label_times_us(self) -> np.ndarray:
        count = (self.duration_us - self.first_label_us) * self.labels_hz // 1_000_000
        times = self.first_label_us + np.arange(count) * 1_000_000 // self.labels_hz
        times += integers(f"{self.name} jitter", count, -150, 151)
        times[self.late_label] += 2500
        start, end = self.unlabelled_us
        return times[(times < start) | (times >= end)]

    def boxes(self) -> np.ndarray:
        """Two to six boxes at each label time.

        Some are outside the frame, too small or too wide. Low classes are frequent.
        """
        times = self.label_times_us()
        times = np.repeat(times, integers(f"{self.name} boxes", len(times), 2, 7))
        count = len(times)
        boxes = np.zeros(count, PADDED_BBOX)
        boxes["t"] = times
        for side, size, before, after in (("x", self.width, 100, 20), ("y", self.height, 60, 10)):
            scale = 4 * self.width  # of borders that stand for a width of 1280
            low, high = -before * scale // WIDTH, 4 * size + after * scale // WIDTH
            boxes[side] = (
                integers(f"{self.name} {'left' if side == 'x' else 'top'}", count, low, high) / 4
            )
        for side, most in (("w", self.width * 400 // WIDTH), ("h", self.height * 300 // HEIGHT)):
            boxes[side] = integers(f"{self.name} {side}", count, 4 * 8, 4 * most) / 4
        boxes["w"][5::11] = 4.75  # narrower than 5 px
        boxes["x"][7::13] = 10
        boxes["w"][7::13] = self.width * 15 // 16  # wider than nine tenths of the frame
        if self.only_small_boxes:
            boxes["w"] = 4.75
        boxes["class_id"] = integers(f"{self.name} class", (2, count), 0, self.num_classes).min(0)
        boxes["track_id"] = integers(f"{self.name} track", count, 0, 40)
        boxes["class_confidence"] = 1
        return boxes

    def write(self, root: Path, ending: str = "td.h5") -> None:
        """Write events and labels into ``root/split``.

        With a suffix other than ``.h5`` events are a DAT file, as in Gen1 and 1Mpx.
        """
        folder = root / self.split
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}_{ending}"
        if path.suffix == ".h5":
            with h5py.File(path, "w") as file:
                for column, values in self.events().items():
                    file.create_dataset(f"events/{column}", data=values, compression="gzip")
        else:
            path.write_bytes(self._dat())
        np.save(folder / f"{self.name}_bbox.npy", self.boxes())

    def _dat(self) -> bytes:
        events = {name: values.astype(np.int64) for name, values in self.events().items()}
        packed = (events["p"] > 0).astype(np.int64) << 28 | events["y"] << 14 | events["x"]
        header = "% Data file containing CD events.\n% Version 2\n"
        header += f"% Height {self.height}\n% Width {self.width}\n"
        return (
            header.encode()
            + bytes([12, 8])
            + np.stack([events["t"], packed], 1).astype("<u4").tobytes()
        )
