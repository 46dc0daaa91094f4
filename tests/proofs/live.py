"""How a live run behaves in real time: overload, memory, a night without events, a burst.

    python tests/proofs/live.py GRAPH.onnx RECORDING [--small] [--only PART ...]

GRAPH is a file of tools/export.py for the sensor of the recording. Each part runs in a process of
its own and prints a line with its peak memory, which is compared with that of the part "once".
``--small`` takes half a minute on two cores; without it the parts take about 40 minutes.

- once: 1x, every window in order; done twice, since the first one compiles.
- replay: the same with a table of boxes, which has to equal that of tools/detect.py.
- in-order, newest, camera: the same with a detector that takes three steps of time for each window;
  "camera" is a source that cannot wait, so its events go to the buffer file.
- memory: growth over 72,000 windows. A process of its own sends random events as RAW bytes through
  a named pipe, faster than real time. Outputs are a table, JSON lines, a recording, and the
  web page, which is asked for a picture twice a second.
- memory-replay: the same for a recording that is replayed on a schedule, 20 times as fast.
- night: ten minutes of a source whose clock goes on and that sends no event.
- burst: a camera that sends 40 M events/s for ten seconds.
- burst-slow: the same with a detector that takes three steps of time for each window, and a buffer
  file of 300 MB.

Only the events of memory, night and burst are made up, and the slow detector sleeps.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import resource
import socket
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np

from etram_mmdet.apis.sinks import write_table
from etram_mmdet.deploy.live import NEWEST
from etram_mmdet.deploy.live.recorder import encode_evt2
from etram_mmdet.deploy.live.report import Report
from etram_mmdet.deploy.live.run import LiveRun, LiveSettings
from etram_mmdet.deploy.runtime import EventInferencer
from etram_mmdet.deploy.sources import Replay, Source, open_source
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.recording import NO_EVENTS, Events

OVERLOAD = 3
PACKET_US = 5_000
EVENTS_PER_S = 10_000
BUFFER_BYTES = 300_000_000
MOST_GROWTH_MB = 10


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
    assert run() == 0 and not run.failures, run.failures
    return run.report


def once(graph: Path, recording: Path, small: bool) -> str:
    report = live(EventInferencer(graph), Replay(recording))
    assert report.skipped == report.dropped == 0
    return f"{report}"


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
    return f"{report}; boxes equal to offline"


def slow(graph: Path) -> tuple[EventInferencer, float]:
    """A detector that takes three steps of time for each window, and this time in seconds."""
    inferencer = EventInferencer(graph)
    takes_s = OVERLOAD * inferencer.step_us / 1e6
    inferencer.engine = Slowed(inferencer.engine, takes_s)
    return inferencer, takes_s


def newest(graph: Path, recording: Path, small: bool) -> str:
    inferencer, takes_s = slow(graph)
    report = live(inferencer, Replay(recording), policy=NEWEST)
    return f"{report}; at most {report.late.max_s / takes_s:.2f} windows' time late"


def in_order(graph: Path, recording: Path, small: bool, can_wait: bool = True) -> str:
    inferencer, _ = slow(graph)
    report = live(inferencer, Replay(recording, can_wait=can_wait))
    assert report.skipped == report.dropped == 0
    return f"{report}"


def camera(graph: Path, recording: Path, small: bool) -> str:
    return in_order(graph, recording, small, can_wait=False)


class Sampler(threading.Thread):
    """Notes the memory of this process as the windows of a run go by.

    Args:
        run: the run, before it starts.
        url: page that is asked for a picture twice a second. Default: none.
    """

    def __init__(self, run: LiveRun, url: str | None = None):
        super().__init__(daemon=True)
        self.seen = [(0, 0.0)]  # number of windows, MB
        self._run = run
        self._url = url

    def run(self) -> None:
        while True:
            time.sleep(0.5)
            if self._url is not None:
                with suppress(OSError):
                    urllib.request.urlopen(self._url, timeout=5).read()
            self.seen.append((self._run.report.windows, memory_mb()))

    def growth(self, num_windows: int) -> str:
        """Growth between the medians of the first and the last quarter of the samples.

        It has to be less than `MOST_GROWTH_MB`. The first eighth of the windows is left out, in
        which queues and the reader's blocks fill. A block more or less, of 8 MB, may be in memory
        at any moment; medians leave that out.
        """
        later = [mb for windows, mb in self.seen if windows >= num_windows / 8]
        quarter = max(1, len(later) // 4)
        first = float(np.median(later[:quarter]))
        last = float(np.median(later[-quarter:]))
        assert last - first < MOST_GROWTH_MB, (first, last)
        return (
            f"memory {first:.0f} MB early, {last:.0f} MB late, {max(later):.0f} MB at most: "
            f"grew by {last - first:.1f} MB"
        )


def send(path: Path, size_px: tuple[int, int], seconds: int) -> None:
    """Write random events as RAW bytes in EVT 2.0, for some seconds of a camera's time."""
    rng = np.random.default_rng(0)
    high = np.full(1, -1, np.int64)
    width, height = size_px
    with path.open("wb") as file:
        file.write(f"% evt 2.0\n% geometry {width}x{height}\n% end\n".encode())
        for second in range(seconds):
            events = Events(
                np.sort(rng.integers(0, 1_000_000, EVENTS_PER_S)) + second * 1_000_000,
                rng.integers(0, width, EVENTS_PER_S, np.uint16),
                rng.integers(0, height, EVENTS_PER_S, np.uint16),
                rng.integers(0, 2, EVENTS_PER_S, np.uint8),
            )
            file.write(encode_evt2(events, high).tobytes())


def memory(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph, score_thr=0.01)
    seconds = round((1_000 if small else 72_000) * inferencer.step_us / 1e6)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.mkfifo(folder / "pipe")
        multiprocessing.get_context("spawn").Process(
            target=send, args=(folder / "pipe", inferencer.sensor_px, seconds)
        ).start()
        settings = LiveSettings(
            out=[str(folder / f"a.{kind}") for kind in ("csv", "jsonl")],
            record=folder / "a.raw",
            web_port=port,
            report_s=math.inf,
        )
        run = LiveRun(inferencer, open_source(str(folder / "pipe")), settings)
        sampler = Sampler(run, f"http://127.0.0.1:{port}/latest.json")
        sampler.start()
        assert run() == 0 and not run.failures, run.failures
        sizes = ", ".join(
            f"{file.suffix} {file.stat().st_size / 1e6:.0f}" for file in sorted(folder.glob("a.*"))
        )
    return f"{run.report}; written in MB: {sizes}; {sampler.growth(run.report.windows)}"


def memory_replay(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph, score_thr=0.01)
    seconds = round((1_000 if small else 72_000) * inferencer.step_us / 1e6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.raw"
        send(path, inferencer.sensor_px, seconds)
        run = LiveRun(inferencer, Replay(path, 20.0), LiveSettings(report_s=math.inf))
        sampler = Sampler(run)
        sampler.start()
        assert run() == 0
    return f"{run.report}; {sampler.growth(run.report.windows)}"


def night(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph)
    rates = [1000] + [0] * (2 if small else 600) + [1000]
    report = live(inferencer, MadeUp(inferencer.sensor_px, rates), silence_s=1)
    assert report.skipped == report.dropped == 0
    assert report.windows >= len(rates) * 1e6 / inferencer.step_us - 2
    return f"{report}"


def burst(graph: Path, recording: Path, small: bool) -> str:
    inferencer = EventInferencer(graph)
    return f"{live(inferencer, burst_of(inferencer, small), buffer_bytes=BUFFER_BYTES)}"


def burst_slow(graph: Path, recording: Path, small: bool) -> str:
    inferencer, _ = slow(graph)
    source = burst_of(inferencer, small)
    run = LiveRun(inferencer, source, LiveSettings(report_s=math.inf, buffer_bytes=BUFFER_BYTES))
    assert run() == 0
    counts = run.counts()
    return f"{run.report}; {counts['events']} events, {counts['dropped events']} dropped"


def burst_of(inferencer: EventInferencer, small: bool) -> MadeUp:
    rates = [100_000, *[40e6] * (1 if small else 10), *[100_000] * (1 if small else 10)]
    return MadeUp(inferencer.sensor_px, rates)


PARTS = {
    "once": once,
    "replay": replay,
    "newest": newest,
    "in-order": in_order,
    "camera": camera,
    "memory": memory,
    "memory-replay": memory_replay,
    "night": night,
    "burst": burst,
    "burst-slow": burst_slow,
}


def _told(name: str, args: argparse.Namespace, answer) -> None:
    answer.put((PARTS[name](args.graph, args.recording, args.small), peak_mb()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graph", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    peaks = {}
    compiled = ["once"] if "once" in args.only else []  # compiling takes memory of its own
    for name in [*compiled, *args.only]:
        answer = context.SimpleQueue()
        process = context.Process(target=_told, args=(name, args, answer))
        process.start()
        process.join()
        assert process.exitcode == 0, name
        told, peaks[name] = answer.get()
        ratio = f", {peaks[name] / peaks['once']:.2f} times once" if "once" in peaks else ""
        print(f"{name}: {told}; peak {peaks[name]:.0f} MB{ratio}", flush=True)


if __name__ == "__main__":
    main()
