"""A folder in which recordings appear: their order, growing files, and files that do not fit."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from etram_mmdet.deploy.sources import GrowingFolder
from etram_mmdet.deploy.sources.intake import joined
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import write_dat, write_evt3
from tests.helpers.raw import HEIGHT, WIDTH, make_events, write_events

NUM = 400
SPAN_US = 400_000


class Clock:
    """Time that passes only while somebody sleeps; what is planned happens on the way."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.plans = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        while self.plans and self.plans[0][0] <= self.now_s:
            self.plans.pop(0)[1]()

    def plan(self, in_s: float, action) -> None:
        self.plans.append((self.now_s + in_s, action))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said(monkeypatch):
    sentences = []
    monkeypatch.setattr(
        "etram_mmdet.deploy.sources.folder.say",
        lambda sentence, level=0: sentences.append(sentence),
    )
    return sentences


def recording(seed=0, start_us=0):
    return make_events(num=NUM, span_us=SPAN_US, start_us=start_us, seed=seed)


def folder_of(path, clock, **options) -> GrowingFolder:
    return GrowingFolder(path, clock=clock, sleep=clock.sleep, **options)


def read(source, seconds, clock):
    """All events of some seconds, whose times must never fall."""
    until_s = clock.now_s + seconds
    parts = []
    while clock.now_s < until_s:
        parts.append(source.read(0.1))
        assert parts[-1] is not None
    events = joined(*parts) if any(len(part.t) for part in parts) else parts[-1]
    assert (np.diff(events.t) >= 0).all()
    return events


def columns_of(events, *recordings):
    """Whether events have the pixels of recordings, in their order."""
    return events.x.tolist() == [x for each in recordings for x in each["x"].tolist()]


def test_recordings_are_read_by_name_with_numbers_as_numbers(tmp_path, clock, said):
    recordings = {name: recording(i) for i, name in enumerate(("rec_2", "rec_10", "rec_9"))}
    for name, events in recordings.items():
        write_events(tmp_path / f"{name}.h5", events)
    with folder_of(tmp_path, clock) as source:
        events = read(source, 5, clock)
        assert (source.width, source.height) == (WIDTH, HEIGHT)
    assert columns_of(events, *(recordings[name] for name in ("rec_2", "rec_9", "rec_10")))


def test_recordings_are_read_by_time_if_asked(tmp_path, clock, said):
    recordings = [recording(0), recording(1)]
    for name, events, changed_s in (("b", recordings[0], 100), ("a", recordings[1], 200)):
        path = write_events(tmp_path / f"{name}.h5", events)
        os.utime(path, (changed_s, changed_s))
    with folder_of(tmp_path, clock, order="time") as source:
        assert columns_of(read(source, 5, clock), *recordings)


def test_the_clock_goes_on_in_a_long_silence(tmp_path, clock, said):
    """Windows without events are complete then, and are not taken for a jump of the time."""
    events = recording(0)
    quiet = np.where(np.arange(NUM) < NUM // 2, 0, 120_000_000)
    write_events(tmp_path / "a.h5", {**events, "t": events["t"] + quiet})
    reached_us = [0]
    with folder_of(tmp_path, clock) as source:
        until_s = clock.now_s + 10
        while clock.now_s < until_s:
            packet = source.read(0.1)
            if len(packet.t):
                assert packet.t[0] >= reached_us[-1]
            reached_us.append(source.reached_us or 0)
    assert max(np.diff(reached_us)) < 10_000_000 and reached_us[-1] > 119_000_000


def test_times_go_on_from_one_recording_to_the_next(tmp_path, clock, said):
    write_events(tmp_path / "a.h5", recording(0))
    write_events(tmp_path / "b.h5", recording(1))
    write_events(tmp_path / "c.h5", recording(2, start_us=10_000_000))
    with folder_of(tmp_path, clock) as source:
        events = read(source, 5, clock)
    a, b, c = events.t.reshape(3, NUM)
    assert b.tolist() == (recording(1)["t"] - recording(1)["t"][0] + a[-1]).tolist()
    assert c.tolist() == recording(2, start_us=10_000_000)["t"].tolist()
    assert len(said) == 1
    assert "b.h5: begins 0.4 s before the end of the recording before" in said[0]


def test_a_file_is_read_when_its_size_has_stopped_changing(tmp_path, clock, said):
    whole = write_dat(tmp_path / "whole", recording()).read_bytes()
    path = tmp_path / "a.dat"
    for second in range(4):
        clock.plan(second, lambda part=second: path.write_bytes(whole[: 1000 + 100 * part]))
    clock.plan(4.0, lambda: path.write_bytes(whole))
    with folder_of(tmp_path, clock, settle_s=2) as source:
        assert 105.9 <= clock.now_s <= 106.5
        assert columns_of(read(source, 3, clock), recording())


def test_a_raw_file_is_read_as_it_grows(tmp_path, clock, said):
    whole = write_evt3(tmp_path / "whole", recording()).read_bytes()
    path = tmp_path / "a.raw"
    size = len(whole) // 4
    for second in range(5):
        clock.plan(second, lambda part=second: path.write_bytes(whole[: 101 + size * part]))
    with folder_of(tmp_path, clock) as source:
        counts = [len(read(source, 1, clock).t) for _ in range(5)]
    assert counts[0] < 0.6 * NUM
    assert min(counts[:3]) > NUM / 8
    assert sum(counts) == NUM
    assert said == [f"{tmp_path}: waits for the first recording"]


def test_a_raw_file_that_pauses_goes_on_while_no_other_is_there(tmp_path, clock, said):
    whole = write_evt3(tmp_path / "whole", recording()).read_bytes()
    path = tmp_path / "a.raw"
    path.write_bytes(whole[:1500])
    clock.plan(10, lambda: path.write_bytes(whole))
    with folder_of(tmp_path, clock, settle_s=2) as source:
        before = len(read(source, 9, clock).t)
        assert 0 < before < NUM
        assert len(read(source, 3, clock).t) == NUM - before
    assert said == []


def test_a_raw_file_ends_when_it_is_still_and_another_is_there(tmp_path, clock, said):
    (tmp_path / "old").mkdir()
    recordings = [recording(0), recording(1)]
    paths = [write_evt3(tmp_path / "old" / f"{i}.raw", each) for i, each in enumerate(recordings)]
    whole = paths[0].read_bytes()
    growing = tmp_path / "0.raw"
    growing.write_bytes(whole[:1000])
    clock.plan(0.5, lambda: shutil.copy(paths[1], tmp_path / "1.raw"))
    clock.plan(1.9, lambda: growing.write_bytes(whole))
    with folder_of(tmp_path, clock, settle_s=2) as source:
        first = read(source, 3.5, clock)
        assert columns_of(first, recordings[0])
        assert columns_of(read(source, 1, clock), recordings[1])


def test_other_files_are_left_alone(tmp_path, clock, said):
    write_events(tmp_path / "a_td.h5", recording())
    for name in ("b.raw.part", ".c.raw", "a_bbox.npy", "notes.txt", "d.raw.tmp"):
        (tmp_path / name).write_bytes(b"nothing of interest")
    (tmp_path / "folder.raw").mkdir()
    with folder_of(tmp_path, clock) as source:
        assert len(read(source, 5, clock).t) == NUM
    assert said == []


def test_a_recording_that_cannot_be_read_is_left_out(tmp_path, clock, said):
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    (tmp_path / "b.raw").write_bytes(b"no events at all. " * 10_000)
    write_events(tmp_path / "c.h5", recording())
    with folder_of(tmp_path, clock) as source:
        assert columns_of(read(source, 8, clock), recording())
    assert [sentence.split(":")[0] for sentence in said] == [
        str(tmp_path / name) for name in ("a.h5", "b.raw")
    ]
    assert all("left out" in sentence for sentence in said)


def test_a_recording_that_could_not_be_opened_is_tried_again_when_it_changes(tmp_path, clock, said):
    path = tmp_path / "a.h5"
    path.write_bytes(b"not HDF5")
    whole = write_events(tmp_path / "old" / "a.h5", recording()).read_bytes()
    clock.plan(4, lambda: path.write_bytes(whole))
    with folder_of(tmp_path, clock) as source:
        assert columns_of(read(source, 4, clock), recording())
    assert "left out" in said[0]


def test_a_recording_of_another_sensor_is_left_out(tmp_path, clock, said):
    write_evt3(tmp_path / "a.raw", recording())
    data = (tmp_path / "a.raw").read_bytes()
    for name in ("b.raw", "c.raw"):
        other = f"{WIDTH * 2}x{HEIGHT}".encode()
        same = f"{WIDTH}x{HEIGHT}".encode()
        (tmp_path / name).write_bytes(data.replace(same, other if name == "b.raw" else same))
    with folder_of(tmp_path, clock) as source:
        assert len(read(source, 8, clock).t) == 2 * NUM
    assert f"b.raw: a sensor of {WIDTH * 2}x{HEIGHT} pixels, but" in said[0]


def test_a_change_after_the_reading_is_told(tmp_path, clock, said):
    write_events(tmp_path / "a.h5", recording())
    with folder_of(tmp_path, clock) as source:
        read(source, 3, clock)
        with (tmp_path / "a.h5").open("ab") as file:
            file.write(b"more")
        assert len(read(source, 3, clock).t) == 0
    assert said == [f"{tmp_path / 'a.h5'}: was changed after it was read; the change is left out"]


def test_dropped_events_of_all_recordings_are_counted(tmp_path, clock, said):
    events = recording()
    events["x"][:3] = WIDTH
    for name in ("a.h5", "b.h5"):
        write_events(tmp_path / name, events)
    with folder_of(tmp_path, clock) as source:
        assert len(read(source, 5, clock).t) == 2 * (NUM - 3)
        assert source.dropped == {"events_out_of_frame": 6}


def test_a_recording_may_be_replayed_at_a_speed(tmp_path, clock, said):
    write_events(tmp_path / "a.h5", recording())
    with folder_of(tmp_path, clock, speed=0.1) as source:
        assert 80 <= len(read(source, 1, clock).t) <= 160
        assert len(read(source, 4, clock).t) > 200


def test_a_file_that_is_taken_away_before_its_turn_is_no_error(tmp_path, clock, said):
    write_events(tmp_path / "a.h5", recording())
    path = write_events(tmp_path / "b.h5", recording())
    clock.plan(1, path.unlink)
    with folder_of(tmp_path, clock) as source:
        assert len(read(source, 5, clock).t) == NUM
    assert said == []


def test_a_folder_that_is_taken_away_is_told(tmp_path, clock, said):
    folder = tmp_path / "folder"
    write_events(folder / "a.h5", recording())
    with folder_of(folder, clock) as source:
        read(source, 1, clock)
        shutil.rmtree(folder)
        with pytest.raises(InputError, match=r"folder: cannot be read"):
            read(source, 1, clock)
