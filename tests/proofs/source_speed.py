"""How many events per second one core decodes from a pipe and makes into frames.

    python tests/proofs/source_speed.py [RECORDING.raw]

Sends EVT 3.0 words at 40 million events per second of camera time through a pipe, from a process of
its own. Times are processor time of the receiving process. Its packets are kept until their window
of 50 ms is complete, as in a live detector. With a recording in EVT 3.0, its words are repeated
instead of made up. Half a minute.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etram_mmdet.deploy.sources import open_source
from etram_mmdet.deploy.sources.intake import joined
from etram_mmdet.events.choices import RVT_REPRESENTATION
from etram_mmdet.events.formats.prophesee_header import read_percent_header
from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.text import table

WIDTH, HEIGHT = 1280, 720
WINDOW_US = 50_000
GOAL = 40e6  # events per second
TURNS = 4
COPIES = 30
HEADER = f"% evt 3.0\n% geometry {WIDTH}x{HEIGHT}\n% end\n".encode()


def made_up(are_vectors: bool) -> np.ndarray:
    """A quarter of a million rows with four events, or two vectors of twelve pixels, each."""
    rng = np.random.default_rng(0)
    num = 250_000
    per_row = 12 if are_vectors else 4
    t = (np.arange(num) * (per_row / GOAL * 1e6)).astype(np.int64)
    row = rng.integers(0, HEIGHT, num)
    words = [0x8000 | (t >> 12) & 0xFFF, 0x6000 | t & 0xFFF, row]
    if are_vectors:
        words.append(0x3000 | rng.integers(0, 2, num) << 11 | rng.integers(0, WIDTH - 24, num))
        words += [0x4000 | rng.integers(0, 1 << 12, num) for _ in range(2)]
    else:
        words += [
            0x2000 | rng.integers(0, 2, num) << 11 | rng.integers(0, WIDTH, num) for _ in range(4)
        ]
    is_new_time = np.diff(t, prepend=-1) != 0
    present = np.ones((num, len(words)), bool)
    present[:, 0] = np.diff(t >> 12, prepend=-1) != 0
    present[:, 1] = is_new_time
    return np.stack(words, 1)[present].astype(np.uint16)


def repeated(words: np.ndarray) -> Iterator[bytes]:
    """Copies of words, each later than the one before."""
    is_high = words >> 12 == 8
    highs = (words[is_high] & 0xFFF).astype(np.int64)
    length = (highs[-1] - highs[0]) % 4096 + 1
    for copy in range(COPIES):
        words[is_high] = 0x8000 | (highs + copy * length) & 0xFFF
        yield words.tobytes()


def send(pipe: int, words: np.ndarray) -> None:
    """Write all bytes into a pipe, and end this process."""
    with os.fdopen(pipe, "wb") as file:
        file.write(HEADER)
        for copy in repeated(words):
            file.write(copy)
    os._exit(0)


def measure(words: np.ndarray) -> tuple[float, float]:
    """Seconds per event of the pipe, and of the frames."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        send(writing, words)
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    representation = build_representation(RVT_REPRESENTATION, HEIGHT, WIDTH)
    in_frames_s = 0.0
    start_s = time.process_time()
    num_events = 0
    waiting: list[Events] = []
    with open_source("-") as source:
        while (events := source.read(10)) is not None:
            num_events += len(events.t)
            waiting.append(events)
            if events.t[-1] - waiting[0].t[0] > WINDOW_US:
                frame_s = time.process_time()
                window = joined(*waiting)
                begin_us = int(window.t[0])
                stop = np.searchsorted(window.t, begin_us + WINDOW_US)
                part = Events(*(column[:stop] for column in window))
                representation(part, (begin_us, begin_us + WINDOW_US))
                waiting = [Events(*(column[stop:] for column in window))]
                in_frames_s += time.process_time() - frame_s
        assert not source.dropped
    in_pipe_s = time.process_time() - start_s - in_frames_s
    os.waitpid(child, 0)
    return in_pipe_s / num_events, in_frames_s / num_events


def main() -> None:
    kinds = {"single events": made_up(False), "vectors": made_up(True)}
    for path in map(Path, sys.argv[1:]):
        start = read_percent_header(path).num_bytes
        kinds = {path.name: np.frombuffer(bytearray(path.read_bytes()[start:]), "<u2")}
    rows = [("words", "turn", "pipe M/s", "frames M/s", "both M/s", "of 40 M/s")]
    for turn in range(TURNS):
        for name, words in kinds.items():
            pipe_s, frame_s = measure(words.copy())
            both = 1 / (pipe_s + frame_s)
            speeds = [f"{each / 1e6:.0f}" for each in (1 / pipe_s, 1 / frame_s, both)]
            if turn:  # the first one compiles
                rows.append((name, str(turn), *speeds, f"{both / GOAL:.2f}"))
    print(table(rows))


if __name__ == "__main__":
    main()
