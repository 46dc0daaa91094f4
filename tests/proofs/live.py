"""How a live run behaves in real time: overload, memory, a night without events, a burst.

    python tests/proofs/live.py GRAPH.onnx RECORDING [--small] [--only PART ...]

GRAPH is a file of tools/export.py for the sensor of the recording. Each part runs in a process of
its own and prints a line. ``--small`` takes half a minute on two cores; without it the parts take
about 20 minutes.

- replay: 1x, every window in order; the table of boxes has to equal that of tools/detect.py.
- in-order, newest: the same with a detector that takes three steps of time for each window.
- memory: the growth of memory over 72,000 windows.
- night: ten minutes of a source whose clock goes on and that sends no event.
- burst: a camera that sends 40 M events/s for ten seconds.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from etram_mmdet.apis.sinks import write_table
from etram_mmdet.deploy.live.report import Report
from etram_mmdet.deploy.live.run import LiveRun, LiveSettings
from etram_mmdet.deploy.runtime import EventInferencer
from etram_mmdet.deploy.sources import Replay, Source
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.recording import NO_EVENTS, Events

OVERLOAD = 3
PACKET_US = 5_000


def memory_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class Slowed:
    """An engine that takes a given time for each window."""

    def __init__(self, engine, seconds: float):
        self.description = engine.description
        self._engine = engine
        self._seconds = seconds

    def __call__(self, frames, states):
        until_s = time.monotonic() + self._seconds
        found = self._engine(frames, states)
        time.sleep(max(until_s - time.monotonic(), 0))
        return found


class MadeUp(Source):
    """Packets of random events, the same pattern again and again, in real time or at once.

    Args:
        size_px: width and height.
        rates: events per second, by the second in which they come; the last one ends the source.
        speed: seconds of the source per second.
        can_wait: as in :class:`Source`.
    """

    def __init__(self, size_px, rates, speed: float = 1.0, can_wait: bool = False):
        self.width, self.height = size_px
        self.can_wait = can_wait
        self._rates = rates
        self._speed = speed
        self._t_us = 0
        self._made = {}

    @property
    def reached_us(self):
        return self._t_us

    def open(self):
        self._start_s = time.monotonic()

    def read(self, timeout_s):
        second = self._t_us // 1_000_000
        if second >= len(self._rates):
            return None
        due_s = self._start_s + (self._t_us + PACKET_US) / 1e6 / self._speed
        if due_s > time.monotonic():
            time.sleep(due_s - time.monotonic())
        t, *others = self._pattern(self._rates[second])
        events = Events(t + self._t_us, *others)
        self._t_us += PACKET_US
        return events

    def close(self):
        pass

    def _pattern(self, rate: float) -> Events:
        if rate not in self._made:
            rng = np.random.default_rng(0)
            count = round(rate * PACKET_US / 1e6)
            self._made[rate] = Events(
                np.arange(count) * PACKET_US // max(count, 1),
                rng.integers(0, self.width, count, np.uint16),
                rng.integers(0, self.height, count, np.uint16),
                rng.integers(0, 2, count, np.uint8),
            )
        return self._made[rate] if rate else NO_EVENTS


def live(inferencer, source, **settings) -> Report:
    run = LiveRun(inferencer, source, LiveSettings(report_s=math.inf, **settings))
    assert run() == 0
    return run.report


def replay(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "live.csv"
        expected = Path(folder) / "offline.csv"
        report = live(inferencer, Replay(recording), out=[str(table)])
        with open_recording(recording) as opened:
            write_table(expected, inferencer.windows(opened), inferencer, opened)
        same = table.read_bytes() == expected.read_bytes()
    assert same and report.skipped == report.dropped == 0
    return f"{report}; boxes equal to offline; peak {peak_mb():.0f} MB"


def _overloaded(graph: Path, recording: Path, policy: str) -> tuple[float, Report]:
    inferencer = EventInferencer(graph)
    takes_s = OVERLOAD * inferencer.step_us / 1e6
    inferencer.engine = Slowed(inferencer.engine, takes_s)
    return takes_s, live(inferencer, Replay(recording), policy=policy)


def newest(graph: Path, recording: Path, small: bool) -> str:
    takes_s, report = _overloaded(graph, recording, "newest")
    return f"{report}; at most {report.late.max_s / takes_s:.2f} windows' time late"


def in_order(graph: Path, recording: Path, small: bool) -> str:
    _, report = _overloaded(graph, recording, "in-order")
    assert report.skipped == report.dropped == 0
    return f"{report}; peak {peak_mb():.0f} MB"


def memory(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph)
    seconds = round((2_000 if small else 72_000) * inferencer.step_us / 1e6)
    early = max(round(seconds / 20), 60)  # the queue is full by then
    used = {}

    class Watched(MadeUp):
        def read(self, timeout_s):
            if self._t_us in (early * 1_000_000, (seconds - 1) * 1_000_000):
                used[self._t_us] = memory_mb()
            return super().read(timeout_s)

    source = Watched(inferencer.sensor_px, [20_000] * seconds, math.inf, can_wait=True)
    report = live(inferencer, source)
    first, last = used.values()
    return f"{report}; memory grew by {last - first:.1f} MB, from {first:.0f} MB"


def night(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph)
    rates = [1000] + [0] * (5 if small else 600) + [1000]
    report = live(inferencer, MadeUp(inferencer.sensor_px, rates), silence_s=2)
    assert report.skipped == report.dropped == 0
    assert report.windows >= len(rates) * 1e6 / inferencer.step_us - 2
    return f"{report}; peak {peak_mb():.0f} MB"


def burst(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph)
    rates = [100_000, *[40e6] * (1 if small else 10), *[100_000] * (2 if small else 10)]
    source = MadeUp(inferencer.sensor_px, rates)
    report = live(inferencer, source, buffer_bytes=300_000_000)
    return f"{report}; peak {peak_mb():.0f} MB"


PARTS = {
    "replay": replay,
    "newest": newest,
    "in-order": in_order,
    "memory": memory,
    "night": night,
    "burst": burst,
}


def _told(name: str, args: argparse.Namespace, answer) -> None:
    answer.put(PARTS[name](args.graph, args.recording, args.small))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graph", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in args.only:
        answer = context.SimpleQueue()
        process = context.Process(target=_told, args=(name, args, answer))
        process.start()
        process.join()
        assert process.exitcode == 0, name
        print(f"{name}: {answer.get()}", flush=True)


if __name__ == "__main__":
    main()
