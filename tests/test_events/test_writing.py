"""Parts of recordings as new files."""

from __future__ import annotations

import multiprocessing
import os
import resource

import numpy as np
import pytest

from etram_mmdet.events.formats import open_recording, writing
from etram_mmdet.events.formats.writing import Part, write_recording
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import WRITERS
from tests.helpers.raw import HEIGHT, WIDTH, make_events

EVERYTHING = (-(1 << 62), 1 << 62)


@pytest.fixture(params=["EVT 3.0", "DAT", "h5 gzip", "npz columns", "csv"])
def recording(request, tmp_path):
    suffix, write = WRITERS[request.param]
    with open_recording(
        write(tmp_path / f"a{suffix}", make_events(3000, span_us=2_500_000)), None
    ) as found:
        if found.size_is_assumed:
            found.declare_sensor(WIDTH, HEIGHT)
        yield found


def read(path, size_px=None):
    with open_recording(path, size_px) as found:
        return found.read(*EVERYTHING), (found.width, found.height)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_the_whole_recording_keeps_every_event(recording, suffix, tmp_path):
    before = recording.read(*EVERYTHING)
    assert write_recording(recording, tmp_path / f"b{suffix}") == 3000
    after, size_px = read(tmp_path / f"b{suffix}", None if suffix == ".h5" else (WIDTH, HEIGHT))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert size_px == (WIDTH, HEIGHT)


def test_a_part_holds_the_events_of_its_time_and_pixels(recording, tmp_path):
    t, x, y, p = recording.read(*EVERYTHING)
    inside = (t >= 300_000) & (t <= 1_900_000) & (x >= 10) & (x < 40) & (y >= 5) & (y < 25)
    part = Part(300_000, 1_900_000, (10, 5, 30, 20), from_zero=True)
    assert write_recording(recording, tmp_path / "b.h5", part) == inside.sum() > 100
    after, size_px = read(tmp_path / "b.h5")
    expected = (t[inside] - 300_000, x[inside] - 10, y[inside] - 5, p[inside])
    for one, other in zip(expected, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert size_px == (30, 20)


@pytest.mark.parametrize(
    "part, told",
    [
        (Part(start_us=9_000_000), "no event from 9000000 to"),
        (Part(crop_px=(60, 0, 10, 10)), "--crop 60 0 10 10: expected"),
        (Part(crop_px=(0, 0, 0, 10)), "--crop 0 0 0 10: expected"),
        (Part(stop_us=-5), "no event from"),
    ],
)
def test_an_impossible_part_is_a_sentence_and_nothing_is_written(recording, part, told, tmp_path):
    with pytest.raises(InputError, match=told):
        write_recording(recording, tmp_path / "b.h5", part)
    assert not (tmp_path / "b.h5").exists()


def test_another_format_is_refused(recording, tmp_path):
    with pytest.raises(InputError, match=r"b.raw: recordings are written as .h5 or .npz"):
        write_recording(recording, tmp_path / "b.raw")


def test_a_part_without_events_is_refused(tmp_path):
    events = dict(
        t=np.array([0, 10]),
        x=np.zeros(2, np.uint16),
        y=np.zeros(2, np.uint16),
        p=np.zeros(2, np.uint8),
    )
    _, write = WRITERS["h5"]
    with open_recording(write(tmp_path / "a.h5", events)) as found:
        with pytest.raises(InputError, match="no event lies in this part"):
            write_recording(found, tmp_path / "b.h5", Part(3, 5))
    assert not (tmp_path / "b.h5").exists()


def test_an_event_between_two_pieces_is_written_once(tmp_path):
    t = np.array([0, 999_999, 1_000_000, 1_000_000, 2_000_000])
    events = dict(
        t=t, x=np.arange(5, dtype=np.uint16), y=np.zeros(5, np.uint16), p=np.zeros(5, np.uint8)
    )
    with open_recording(WRITERS["h5"][1](tmp_path / "a.h5", events)) as found:
        assert write_recording(found, tmp_path / "b.h5") == 5
    assert read(tmp_path / "b.h5")[0].x.tolist() == [0, 1, 2, 3, 4]


def test_chunks_that_are_full_and_one_that_is_not(recording, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_CHUNK", 256)
    before = recording.read(*EVERYTHING)
    assert write_recording(recording, tmp_path / "b.h5") == 3000
    for one, other in zip(before, read(tmp_path / "b.h5")[0], strict=True):
        np.testing.assert_array_equal(one, other)


def _write_limited(source, target):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with open_recording(source) as found:
        try:
            write_recording(found, target)
        except InputError as error:
            os._exit("larger than the limit" not in str(error))
    os._exit(2)


def test_a_disk_that_is_full_is_a_sentence_and_ends_no_process(tmp_path):
    """HDF5 on its own ends it, when it lets go of chunks that it could not write."""
    source = WRITERS["h5"][1](tmp_path / "a.h5", make_events(300_000, span_us=2_500_000))
    process = multiprocessing.get_context("fork").Process(
        target=_write_limited, args=(source, tmp_path / "b.h5")
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0 and not (tmp_path / "b.h5").exists()
