"""Windows of live events: where they end, which are skipped or dropped, how late they are."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest

from etram_mmdet.deploy.live.backlog import Arrival, Backlog
from etram_mmdet.deploy.live.buffer_file import EVENT_BYTES, BufferFile
from etram_mmdet.deploy.live.loop import follow
from etram_mmdet.deploy.live.reader import Reader
from etram_mmdet.deploy.live.recorder import Recorder
from etram_mmdet.deploy.live.report import Lateness, Report
from etram_mmdet.deploy.live.windower import QUIET_US, Windower
from etram_mmdet.deploy.sources import Replay
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.utils.errors import InputError
from tests.helpers.live import HW, STEP_US, Clock, DueBacklog, Packets, SlowDetector, packet
from tests.helpers.paths import ROOT
from tests.helpers.raw import make_events, write_events


def events_of(span_us: int = 1_000_000, start_us: int = 0) -> Events:
    columns = make_events(num=3000, span_us=span_us, start_us=start_us)
    x = columns["x"] % HW[1]
    return Events(columns["t"], x, columns["y"] % HW[0], columns["p"].astype(np.uint8))


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """Sentences to the user."""
    sentences = []
    for module in ("watchdog", "recorder", "buffer_file"):
        name = f"etram_mmdet.deploy.live.{module}.say"
        monkeypatch.setattr(name, lambda sentence, level: sentences.append(sentence))
    return sentences


@pytest.fixture
def replayed(tmp_path):
    """A recording of a second, and its 19 whole windows."""
    path = write_events(tmp_path / "a.h5", events_of()._asdict(), with_size=False)
    return path


def live(backlog, detector, policy, clock, **options):
    report = Report()
    windows = list(follow(backlog, detector, HW, policy, report, clock=clock, **options))
    return windows, report


def test_windows_hold_the_events_up_to_their_end_whatever_the_packets():
    events = events_of()
    events = events._replace(t=events.t // 1000 * 1000)  # some lie exactly at an end
    windower = Windower(STEP_US, STEP_US)
    found = {}
    for start in range(0, len(events.t), 170):
        windower.add(Events(*(column[start : start + 170] for column in events)), 0.0)
        for end_us in windower.ends():
            found[end_us] = windower.cut(end_us)
    assert list(found) == list(range(STEP_US, int(events.t[-1]), STEP_US))
    for end_us, window in found.items():
        inside = (events.t >= end_us - STEP_US) & (events.t <= end_us)
        assert np.array_equal(window.t, events.t[inside])
        assert np.array_equal(window.x, events.x[inside])


def test_a_window_waits_for_a_later_event_or_for_the_clock_of_the_source():
    windower = Windower(STEP_US, STEP_US)
    windower.add(packet(10, STEP_US), 1.0)
    assert not windower.ends() and windower.ends(is_over=True) == range(
        STEP_US, STEP_US + 1, STEP_US
    )
    windower.add(packet(), 2.0, STEP_US + QUIET_US)
    assert not windower.ends()
    windower.add(packet(), 3.0, STEP_US + QUIET_US + 1)
    assert list(windower.ends()) == [STEP_US] and windower.passed_s(STEP_US) == 3.0


def test_lost_events_drop_the_windows_that_would_hold_them():
    windower = Windower(STEP_US, STEP_US)
    windower.add(packet(10), 0.0)
    windower.add_gap(60_000, 160_000, 0.0)
    windower.add(packet(260_000), 0.0)
    whole = {end_us: windower.cut(end_us) is not None for end_us in list(windower.ends())}
    assert whole == {50_000: True, 100_000: False, 150_000: False, 200_000: False, 250_000: True}


def test_in_order_processes_every_window_and_tells_how_late(replayed):
    clock = Clock()
    source = Replay(replayed, sensor_px=HW[::-1], clock=clock, sleep=clock.sleep)
    source.open()
    detector = SlowDetector(clock, 3 * STEP_US / 1e6)
    windows, report = live(
        DueBacklog(source, clock), detector, "in-order", clock, due_s=source.due_s
    )
    assert [each.window.t_us for each in windows] == list(range(STEP_US, 1_000_000, STEP_US))
    assert report.skipped == 0 and report.windows == 19
    # each window takes three steps of time: the last of 19 is two steps for each one before late
    assert windows[-1].late_s == pytest.approx((18 * 2 + 3) * 0.05, abs=0.02)
    assert report.late.quantile_s(0.5) == pytest.approx((9 * 2 + 3) * 0.05, rel=0.03)


def test_the_newest_policy_skips_and_is_never_two_windows_late(replayed):
    clock = Clock()
    source = Replay(replayed, sensor_px=HW[::-1], clock=clock, sleep=clock.sleep)
    source.open()
    takes_s = 3 * STEP_US / 1e6
    detector = SlowDetector(clock, takes_s)
    backlog = DueBacklog(source, clock, keep_us=2 * STEP_US)
    windows, report = live(backlog, detector, "newest", clock, due_s=source.due_s)
    assert report.windows == len(windows) == 7 and report.skipped == 12
    assert sum(each.skipped for each in windows) == 12
    # it begins with a window that ended less than a step (and a packet of 5 ms) ago
    assert all(each.late_s - takes_s < 0.056 for each in windows)
    assert report.late.max_s < 2 * takes_s
    # and what it sees is whole: the events of that window
    events = events_of()
    for each, seen in zip(windows, detector.seen, strict=True):
        inside = (events.t >= each.window.t_us - STEP_US) & (events.t <= each.window.t_us)
        assert seen == inside.sum()


def test_the_state_is_carried_on_over_skipped_windows():
    """The network sees the windows that are left as if they followed each other."""

    class Counting(SlowDetector):
        def new_stream(self):
            self.streams = getattr(self, "streams", 0) + 1
            return self

        def reset(self):
            raise AssertionError("a skip must not reset the state")

    clock = Clock()
    backlog = Backlog(keep_us=10 * STEP_US)
    for start in range(0, 8 * STEP_US, STEP_US):
        backlog.put(Arrival(packet(start + 10), clock(), None))
    backlog.close()
    detector = Counting(clock, 0.0)
    windows, report = live(backlog, detector, "newest", clock)
    assert detector.streams == 1 and len(detector.seen) == len(windows)
    assert report.skipped + report.windows == 7 and report.skipped >= 5


def test_without_a_schedule_a_window_is_late_from_the_first_packet_beyond_it():
    clock = Clock()
    backlog = Backlog()
    for t_us, arrived_s in ((10, 98.0), (STEP_US + 1, 99.5), (STEP_US + 5, 99.75)):
        backlog.put(Arrival(packet(t_us), arrived_s, None))
    backlog.close()
    windows, _ = live(backlog, SlowDetector(clock, 0.25), "in-order", clock)
    assert [each.late_s for each in windows] == [pytest.approx(0.75)]


def test_a_source_that_can_wait_is_slowed_down(monkeypatch):
    monkeypatch.setattr("etram_mmdet.deploy.live.backlog.MAX_EVENTS", 2)
    backlog = Backlog()
    reader = Reader(Packets([packet(i) for i in range(6)]), backlog)
    reader.start()
    time.sleep(0.2)
    assert reader.num_events == 3  # two wait, the third was read
    taken = [backlog.take(5.0, False)[0].events.t[0] for _ in range(6)]
    reader.stop()
    assert taken == list(range(6)) and backlog.num_lost == 0


def test_events_of_a_camera_wait_in_the_buffer_file_and_then_are_lost(monkeypatch, told):
    monkeypatch.setattr("etram_mmdet.deploy.live.backlog.MAX_EVENTS", 2)
    buffer = BufferFile(3 * 2 * EVENT_BYTES + 1)
    backlog = Backlog(buffer)
    for start in range(0, 12, 2):  # one packet in memory, three in the file, two are lost
        backlog.put(Arrival(packet(start, start + 1), 0.0, None))
    assert backlog.num_lost == 4 and "is full: windows are dropped" in told[0]
    taken = backlog.take(0, True)
    assert [each.events.t.tolist() for each in taken] == [[0, 1], [2, 3], [4, 5], [6, 7], []]
    assert taken[-1].gap_us == (8, 11)
    for start in range(20, 28, 2):  # there is room again, around the end of the file
        backlog.put(Arrival(packet(start, start + 1), 0.0, None))
    taken = backlog.take(0, True)
    assert [each.events.t.tolist() for each in taken] == [[20, 21], [22, 23], [24, 25], [26, 27]]
    assert os.fstat(buffer._file.fileno()).st_size <= buffer.max_bytes
    assert all((each.events.y == 2).all() and (each.events.p == 1).all() for each in taken)


def test_dropped_windows_are_counted(monkeypatch):
    monkeypatch.setattr("etram_mmdet.deploy.live.backlog.MAX_EVENTS", 1)
    backlog = Backlog(BufferFile(EVENT_BYTES))
    for t_us in (10, 60_000, 110_000, 160_000):
        backlog.put(Arrival(packet(t_us), 0.0, None))
    backlog.take(0, False)
    clock = Clock()
    backlog.put(Arrival(packet(400_000), 0.0, None))
    backlog.close()
    windows, report = live(backlog, SlowDetector(clock, 0.0), "in-order", clock)
    assert report.dropped == 2 and report.windows == len(windows) > 0
    assert max(each.skipped for each in windows) == 2


def test_a_silent_source_is_told_once(told):
    clock = Clock()

    class Slow(Packets):
        def read(self, timeout_s):
            clock.sleep(2.0)
            return super().read(timeout_s)

    quiet = [packet(1), *[packet()] * 4, packet(2), packet()]
    reader = Reader(Slow(quiet), Backlog(), silence_s=5.0, clock=clock)
    while reader.read_once():
        pass
    assert reader.watchdog.num_silences == 1 and len(told) == 2
    assert "no event came for 6.0 s" in told[0] and "after 10.0 s" in told[1]


def test_a_night_without_events_has_empty_windows():
    class Night(Packets):
        @property
        def reached_us(self):
            return 10 + 5_000 * self.read_so_far

        def read(self, timeout_s):
            self.read_so_far = getattr(self, "read_so_far", -1) + 1
            return super().read(timeout_s)

    backlog = Backlog()
    reader = Reader(Night([packet(10), *[packet()] * 2000]), backlog)
    while reader.read_once():
        pass
    backlog.close()
    clock = Clock()
    detector = SlowDetector(clock, 0.0)
    windows, report = live(backlog, detector, "in-order", clock)
    assert detector.seen == [1] + [0] * 198 and report.skipped == report.dropped == 0
    # each is told when the clock has reached it, and not at the end of the night
    assert [each.window.t_us for each in windows] == list(range(STEP_US, 200 * STEP_US, STEP_US))


def test_memory_does_not_grow_with_the_number_of_windows():
    clock = Clock()
    packets = (packet(*range(start, start + 200)) for start in range(0, 1500 * STEP_US, STEP_US))
    used = []

    class Measuring(Packets):
        def read(self, timeout_s):
            used.append(tracemalloc.get_traced_memory()[0])
            return super().read(timeout_s)

    tracemalloc.start()
    backlog = DueBacklog(Measuring(packets), clock)
    for seen in follow(backlog, SlowDetector(clock, 0.0), HW, "in-order", Report(), clock=clock):
        assert seen.skipped == 0
    tracemalloc.stop()
    # 1,200 windows hold 3 MB of events and as many objects again
    assert used[-1] - used[300] < 200_000


def test_quantiles_are_right_within_a_percent():
    late = Lateness()
    times = np.random.default_rng(0).exponential(0.05, 20_000) + 0.001
    for each in times:
        late.add(each)
    for share in (0.5, 0.95, 0.99):
        assert late.quantile_s(share) == pytest.approx(np.quantile(times, share), rel=0.015)


def test_a_recording_is_what_came(tmp_path):
    path = tmp_path / "a.raw"
    events = events_of(start_us=1 << 33)
    later = events._replace(t=events.t + (1 << 31))  # a pause of 36 minutes
    writer = Recorder(path, 64, 48)
    for part in (events, later):
        for start in range(0, len(events.t), 700):
            writer.write(Events(*(column[start : start + 700] for column in part)))
    writer.close()
    with open_recording(path) as opened:
        assert (opened.width, opened.height) == (64, 48)
        found = opened.read(opened.t_first_us, opened.t_last_us)
    for ours, one, two in zip(found, events, later, strict=True):
        assert np.array_equal(ours, np.concatenate([one, two]))


def test_a_recording_notes_the_time_of_a_silence(tmp_path):
    """So a reader of the bytes can tell two minutes without an event from a jump of the time."""
    writer = Recorder(tmp_path / "a.raw", 64, 48)
    events = events_of()
    after = events._replace(t=events.t + 120_000_000)
    writer.write(NO_EVENTS, 0)
    writer.write(events)
    last_us = int(events.t[-1])
    for reached_us in range(last_us, int(after.t[0]), 50_000):
        writer.write(NO_EVENTS, reached_us)
    writer.write(after)
    writer.close()
    data = (tmp_path / "a.raw").read_bytes().split(b"% end\n", 1)[1]
    words = np.frombuffer(data, "<u4").astype(np.int64)
    times_us = (words[words >> 28 == 8] & 0xFFFFFFF) << 6
    assert 1_000_000 <= np.diff(times_us).max() < 1_060_000
    with open_recording(tmp_path / "a.raw") as opened:
        found = opened.read(opened.t_first_us, opened.t_last_us)
    assert np.array_equal(found.t, np.concatenate([events.t, after.t]))


def test_a_recording_without_events_is_removed_and_a_file_is_never_overwritten(tmp_path):
    path = tmp_path / "a.raw"
    Recorder(path, 64, 48).close()
    assert not path.exists()
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="exists already"):
        Recorder(path, 64, 48)
    assert path.read_bytes() == b"x"


def test_a_recording_may_go_into_a_pipe(tmp_path):
    """A pipe cannot be forced to the disk, and is not removed."""
    path = tmp_path / "a.raw"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = Recorder(path, 64, 48)
    writer.close()
    assert os.read(reader, 1000).startswith(b"% evt 2.0") and not writer.failure
    assert path.exists()
    os.close(reader)


def test_a_full_disk_ends_the_recording_and_keeps_what_it_holds(tmp_path, told):
    path = tmp_path / "a.raw"
    writer = Recorder(path, 64, 48)
    writer.write(events_of())
    file = writer._file

    class Full:
        def write(self, data):
            if len(data) > 4002:
                return file.write(data[:4002])  # in the middle of a word
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name):
            return getattr(file, name)

    writer._file = Full()
    more = events_of(start_us=2_000_000)
    writer.write(Events(*(column[:3000] for column in more)))
    writer.write(more)
    writer.close()
    assert "the disk is full" in writer.failure and told == [writer.failure]
    with open_recording(path) as opened:
        assert not any(opened.dropped.values())
        found = opened.read(opened.t_first_us, opened.t_last_us)
    assert np.array_equal(found.t[:3000], events_of().t) and len(found.t) > 3000
    assert np.array_equal(found.t[3000:], more.t[: len(found.t) - 3000])
    assert writer.num_events == len(found.t)


def test_a_killed_recorder_leaves_a_readable_file(tmp_path):
    path = tmp_path / "a.raw"
    program = f"""
import sys, numpy as np
from pathlib import Path
from etram_mmdet.deploy.live.recorder import Recorder
from etram_mmdet.events.recording import Events
writer = Recorder(Path({str(path)!r}), 64, 48)
one = np.ones(100, np.uint16)
for k in range(10**9):
    writer.write(Events(np.arange(100) + 1000 * k, one, one, one.astype(np.uint8)))
    k == 50 and print("going", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == b"going\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open_recording(path) as opened:
        found = opened.read(opened.t_first_us, opened.t_last_us)
    assert len(found.t) > 50 * 100
    expected = (np.arange(len(found.t)) % 100) + 1000 * (np.arange(len(found.t)) // 100)
    assert np.array_equal(found.t, expected)


def test_an_error_of_the_source_comes_after_its_last_packet():
    class Broken(Packets):
        def read(self, timeout_s):
            events = super().read(timeout_s)
            if events is None:
                raise InputError("the cable")
            return events

    backlog = Backlog()
    reader = Reader(Broken([packet(1), packet(STEP_US + 1)]), backlog)
    reader.start()
    clock = Clock()
    windows, _ = live(backlog, SlowDetector(clock, 0), "in-order", clock)
    reader.stop()
    assert len(windows) == 1 and str(reader.error) == "the cable"
    assert not any(thread.name == "reader" for thread in threading.enumerate())
