"""Replay of recordings at a speed, names of sources, and sources of one's own."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from etram_mmdet.deploy.sources import (
    Camera,
    GrowingFolder,
    RawBytes,
    Replay,
    Source,
    open_source,
)
from etram_mmdet.deploy.sources.intake import joined
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.recording import NO_EVENTS
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT
from tests.helpers.raw import HEIGHT, WIDTH, make_events, write_events


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_s += seconds


@pytest.fixture
def path(tmp_path):
    return write_events(tmp_path / "a_td.h5", make_events(start_us=5_000_000))


def replay(path, clock=None, **options) -> Replay:
    clock = clock or Clock()
    return Replay(path, clock=clock, sleep=clock.sleep, **options)


def packets(source, timeout_s=10.0):
    while (events := source.read(timeout_s)) is not None:
        yield events


def assert_whole(found, path):
    with open_recording(path) as recording:
        for column, other in zip(found, recording.read(0, 1 << 60), strict=True):
            np.testing.assert_array_equal(column, other)


@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
def test_packets_come_when_a_camera_would_have_sent_them(path, speed):
    clock = Clock()
    with replay(path, clock, speed=speed) as source:
        found = []
        for events in packets(source):
            found.append(events)
            assert np.ptp(events.t) < 5000
            elapsed_us = (clock.now_s - 100) * speed * 1e6
            assert 0 <= elapsed_us - (events.t[-1] - found[0].t[0]) <= 6000
            assert source.reached_us > events.t[-1]
    assert_whole(joined(*found), path)
    assert clock.now_s == pytest.approx(100 + 0.4 / speed, abs=0.006 / speed)


def test_as_fast_as_possible_never_sleeps(path):
    clock = Clock()
    with replay(path, clock, speed=math.inf) as source:
        assert_whole(joined(*packets(source)), path)
    assert clock.now_s == 100


def test_nothing_comes_within_a_timeout_that_is_too_short(path):
    clock = Clock()
    with replay(path, clock, packet_us=10_000) as source:
        assert len(source.read(0.004).t) == 0
        assert clock.now_s == pytest.approx(100.004)
        assert len(source.read(0.007).t) > 0
        assert clock.now_s == pytest.approx(100.01)


def test_a_late_reader_gets_all_packets_at_once(path):
    clock = Clock()
    with replay(path, clock) as source:
        found = [source.read(1)]
        clock.now_s += 60
        late_s = clock.now_s
        found += packets(source)
    assert clock.now_s == late_s
    assert_whole(joined(*found), path)


def test_a_pause_in_the_recording_lasts_as_long_in_the_replay(tmp_path):
    events = make_events()
    events["t"][2000:] += 3_000_000
    clock = Clock()
    with replay(write_events(tmp_path / "a_td.h5", events), clock) as source:
        counts = [len(each.t) for each in packets(source, timeout_s=0.5)]
    assert counts.count(0) == 5
    assert sum(counts) == 4000
    assert clock.now_s == pytest.approx(103.4, abs=0.01)


def test_a_recording_is_read_as_it_is_replayed_and_not_before(path, monkeypatch):
    monkeypatch.setattr(
        "etram_mmdet.events.recording.Recording.t_last_us", property(lambda self: 1 / 0)
    )
    with replay(path) as source:
        assert sum(len(each.t) for each in packets(source)) == 4000


def test_dropped_events_of_a_recording_are_counted(tmp_path):
    events = make_events()
    events["x"][:40] = WIDTH
    with replay(write_events(tmp_path / "a_td.h5", events)) as source:
        assert sum(len(each.t) for each in packets(source)) == 3960
        assert source.dropped == {"events_out_of_frame": 40}


def test_a_replay_may_pass_for_a_camera(path):
    assert Replay(path).can_wait
    assert not Replay(path, can_wait=False).can_wait


def test_the_likely_size_is_taken_for_a_file_that_states_none(tmp_path):
    path = write_events(tmp_path / "a_td.h5", make_events(), with_size=False)
    for options, size in (
        (dict(likely_px=(WIDTH, HEIGHT)), (WIDTH, HEIGHT)),
        (dict(likely_px=(WIDTH // 2, HEIGHT)), (304, 240)),
        (dict(sensor_px=(200, 100), likely_px=(WIDTH, HEIGHT)), (200, 100)),
    ):
        with replay(path, **options) as source:
            assert (source.width, source.height) == size


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_an_impossible_speed_is_refused(path, speed):
    with pytest.raises(InputError, match=r"expected a number above 0"):
        Replay(path, speed)


def test_names_of_sources(tmp_path, path):
    for text, kind in (
        (str(path), Replay),
        (str(tmp_path / "missing.raw"), Replay),
        (str(tmp_path), GrowingFolder),
        ("-", RawBytes),
        ("tcp://127.0.0.1:5000", RawBytes),
        ("unix:/run/events", RawBytes),
        ("camera", Camera),
        ("camera:00051", Camera),
        (f"{__name__}:OwnCamera", OwnCamera),
    ):
        assert type(open_source(text)) is kind


def test_a_missing_recording_is_refused_when_it_is_opened(tmp_path):
    with pytest.raises(InputError, match=r"no such recording"), open_source(str(tmp_path / "a.h5")):
        pass


@pytest.mark.parametrize("text", ["-", "tcp://h:1", "camera", f"{__name__}:OwnCamera"])
def test_speed_goes_with_recordings_only(text):
    with pytest.raises(InputError, match=r"comes at its own speed; leave --speed out"):
        open_source(text, speed=2.0)


@pytest.mark.parametrize("text", ["tcp://host", "tcp://:5000", "tcp://host:99999", "tcp://host:x"])
def test_an_address_without_a_port_is_refused(text):
    with pytest.raises(InputError, match=r"expected tcp://HOST:PORT"):
        open_source(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere_at_all:Camera", "No module named 'nowhere_at_all'"),
        (f"{__name__}:Missing", "Missing"),
        (f"{__name__}:Clock", "not a source; derive the class"),
        (f"{__name__}:replay", "not a source; derive the class"),
    ],
)
def test_a_class_that_is_no_source_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        open_source(text)


class OwnCamera(Source):
    """The least that a source of one's own needs."""

    def open(self) -> None:
        self.width = 32
        self.height = 24

    def read(self, timeout_s):
        return NO_EVENTS

    def close(self) -> None:
        self.is_closed = True


def test_a_source_of_ones_own_needs_three_methods():
    with open_source(f"{__name__}:OwnCamera") as source:
        assert (source.width, source.height) == (32, 24)
        assert len(source.read(0.1).t) == 0
        assert source.dropped == {}
        assert source.reached_us is None
        assert not source.can_wait
    assert source.is_closed


def test_the_examples_of_the_page_work(path, capsys):
    page = (ROOT / "docs" / "sources.md").read_text()
    follow, own = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(follow.replace("recording.raw", str(path)), {})
    counts = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert sum(counts) == 4000
    names = {}
    exec(own, names)
    with names["MyCamera"]() as source:
        assert [source.read(0.1).t[0] for _ in range(3)] == [0, 2000, 4000]
