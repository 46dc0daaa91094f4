"""Where boxes go while they are found: terminal, JSON lines, CSV, MP4."""

from __future__ import annotations

import csv
import json
import logging
import os
import queue
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from etram_mmdet.deploy.box_table import COLUMNS, rows_of
from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.deploy.live.loop import LiveWindow
from etram_mmdet.deploy.live.names import create
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_writable, os_errors
from etram_mmdet.utils.notices import say
from etram_mmdet.utils.text import first_line

TERMINAL = "-"
_SUFFIXES = (".jsonl", ".csv", ".mp4")


class Output(ABC):
    """Takes windows one by one."""

    @abstractmethod
    def write(self, seen: LiveWindow) -> None:
        """Take the next window.

        Args:
            seen: window with its boxes.

        Raises:
            InputError: it cannot be written.
        """

    def close(self) -> None:  # noqa: B027  most outputs have nothing to end
        """End the output. Default: nothing is to be done."""


class Terminal(Output):
    """Prints a line for every window in which something was found."""

    def write(self, seen: LiveWindow) -> None:
        boxes = seen.window.boxes
        if len(boxes):
            found = zip(boxes.names, boxes.scores, strict=True)
            text = ", ".join(f"{name} {score:.2f}" for name, score in found)
            print_line(f"{seen.window.t_us / 1e6:.3f} s  {text}")


def print_line(line: str) -> None:
    """Print a line to standard output at once.

    Args:
        line: the line.

    Raises:
        InputError: it cannot be written; nothing can be printed from then on.
    """
    try:
        with os_errors(Path("standard output"), "written"):
            print(line, flush=True)
    except InputError as error:
        # Python writes what is left when it ends, and would fail once more
        sys.stdout = open(os.devnull, "w")
        if isinstance(error.__cause__, BrokenPipeError):
            raise InputError(
                "standard output: the program that read it has ended; leave --out - out, or let "
                "that program read to the end"
            ) from error
        raise


class _TextFile(Output):
    """A text file of whole lines, also when the program is killed or the disk is full.

    Args:
        path: new file, or a pipe.
        head: its first line. Default: none.
    """

    def __init__(self, path: Path, head: str = "") -> None:
        self.path = path
        self._file = create(path, "--out")
        self._size_bytes = 0
        try:
            self._write(head)
        except InputError:
            self._file.close()
            raise

    def _write(self, text: str) -> None:
        data = memoryview(text.encode())
        size_bytes = self._size_bytes + len(data)
        with os_errors(self.path, "written"):
            try:
                while data:
                    data = data[self._file.write(data) :]
            except OSError:
                with suppress(OSError):  # of a pipe
                    self._file.truncate(self._size_bytes)
                raise
        self._size_bytes = size_bytes

    def close(self) -> None:
        with os_errors(self.path, "written"):
            self._file.close()


class JsonLines(_TextFile):
    """One JSON object per window: ``t_us``, ``late_ms``, ``skipped`` and ``boxes``.

    Corners are sensor pixels. ``skipped`` is the number of windows that were left out before it.
    """

    def write(self, seen: LiveWindow) -> None:
        content = dict(
            t_us=seen.window.t_us,
            late_ms=round(seen.late_s * 1e3, 1),
            skipped=seen.skipped,
            boxes=boxes_as_dicts(seen),
        )
        self._write(json.dumps(content) + "\n")


class Csv(_TextFile):
    """The table of ``tools/detect.py --out FILE.csv``.

    Args:
        path: new file, or a pipe.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, ",".join(COLUMNS) + "\n")

    def write(self, seen: LiveWindow) -> None:
        rows = _Rows()
        csv.writer(rows, lineterminator="\n").writerows(rows_of(seen.window))
        self._write("".join(rows))


class _Rows(list):
    """A list of lines to which :mod:`csv` writes."""

    def write(self, line: str) -> None:
        self.append(line)


class Film(Output):
    """The film of tools/detect.py, one picture per window. It appears when the program has ended.

    A thread of its own draws and encodes. If it is slower than windows come, the detector waits.

    Args:
        path: file to write.
        inferencer: detector; gives class names, colours and the rate of pictures.

    Raises:
        InputError: OpenCV is missing, or the file cannot be written.
    """

    def __init__(self, path: Path, inferencer: Inferencer) -> None:
        try:
            from etram_mmdet.deploy.film import film_of
            from etram_mmdet.visualization.video import write_mp4
        except ImportError as error:
            raise InputError(
                f"--out {path}: films need OpenCV ({error}); run pip install opencv-python-headless"
            ) from error
        check_writable(path)
        self.path = path
        self._windows: queue.Queue[Window | None] = queue.Queue(4)
        self._error: InputError | None = None
        self._has_picture = False

        def encode() -> None:
            try:
                film = film_of(self._waiting(), inferencer, path.stem)
                say(f"{path}: codec: {write_mp4(film, path, 1e6 / inferencer.step_us)}")
            except Exception as error:
                self._error = (
                    error
                    if isinstance(error, InputError)
                    else InputError(f"{path}: the film cannot be written ({first_line(error)})")
                )
                for _ in self._waiting():  # so that nobody waits for room
                    pass

        self._thread = threading.Thread(target=encode, name="film", daemon=True)
        self._is_over = False

    def write(self, seen: LiveWindow) -> None:
        if self._error is not None:
            raise self._error
        if not self._has_picture:
            self._has_picture = True
            self._thread.start()
        self._windows.put(seen.window)

    def close(self) -> None:
        if self._has_picture:
            self._windows.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _waiting(self) -> Iterator[Window]:
        while not self._is_over:
            window = self._windows.get()
            if window is None:
                self._is_over = True
            else:
                yield window


class Outputs:
    """All outputs of a run. One that fails is left out from then on; the others go on.

    Args:
        names: ``-`` for the terminal, or files that end in .jsonl, .csv or .mp4.
        inferencer: the detector.

    Attributes:
        failures: a sentence for each output that failed.

    Raises:
        InputError: a name is another, or a file cannot be written.
    """

    def __init__(self, names: list[str], inferencer: Inferencer) -> None:
        self.failures: list[str] = []
        self._outputs: list[Output] = []
        check_names(names)
        try:
            for name in names:
                self._outputs.append(_opened(name, inferencer))
        except BaseException:
            self.close()
            raise

    def add(self, output: Output) -> None:
        """Add an output of another kind.

        Args:
            output: takes every window from now on.
        """
        self._outputs.append(output)

    @property
    def have_all_failed(self) -> bool:
        """Whether there were outputs and none is left."""
        return bool(self.failures) and not self._outputs

    def write(self, seen: LiveWindow) -> None:
        """Give a window to all outputs.

        Args:
            seen: window with its boxes.
        """
        self._each(lambda output: output.write(seen))

    def close(self) -> None:
        """End all outputs."""
        self._each(lambda output: output.close())

    def _each(self, do: Callable[[Output], None]) -> None:
        for output in list(self._outputs):
            try:
                do(output)
            except InputError as error:
                self._outputs.remove(output)
                self.failures.append(str(error))
                say(str(error), logging.WARNING)
                with suppress(InputError):
                    output.close()


def boxes_as_dicts(seen: LiveWindow) -> list[dict]:
    """Boxes in sensor pixels for JSON.

    Args:
        seen: window with its boxes.
    """
    boxes = seen.window.boxes
    rows = zip(boxes.bboxes_xyxy, boxes.scores, boxes.names, boxes.labels, strict=True)
    return [
        {
            "xyxy": [round(float(side), 2) for side in box],
            "score": round(float(score), 4),
            "class": name,
            "label": int(label),
        }
        for box, score, name, label in rows
    ]


def _identity(name: str) -> str | Path:
    return name if name == TERMINAL else Path(name).resolve()


def check_names(names: list[str]) -> None:
    """Refuse names of outputs that are mistyped, before a file is made.

    Args:
        names: as for :class:`Outputs`.

    Raises:
        InputError: a name has another suffix, or comes twice.
    """
    for name in names:
        if [_identity(each) for each in names].count(_identity(name)) > 1:
            raise InputError(f"--out {name}: was named twice; name every output once")
        if name != TERMINAL and Path(name).suffix not in _SUFFIXES:
            raise InputError(
                f"--out {name}: expected {TERMINAL} for the terminal, or a name that ends in one "
                f"of {', '.join(_SUFFIXES)}"
            )


def _opened(name: str, inferencer: Inferencer) -> Output:
    path = Path(name)
    if name == TERMINAL:
        return Terminal()
    if path.suffix == ".mp4":
        return Film(path, inferencer)
    return Csv(path) if path.suffix == ".csv" else JsonLines(path)
