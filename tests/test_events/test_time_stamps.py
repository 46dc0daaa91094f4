"""Damaged time stamps cost the events that bear them, and no others."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from etram_mmdet.events.formats import dat, hdf5, numpy_files, open_recording, raw
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.time_stamps import find_contradicted
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import WRITERS, evt3_words, write_raw
from tests.helpers.raw import make_boxes, make_events, write_events, write_recording

NUM = 5000
START_US = 3_000_000  # no damaged stamp may move the start to where a clock begins
SPAN_US = 400_000


def sound_events() -> dict[str, np.ndarray]:
    return make_events(NUM, SPAN_US, START_US)


def with_stamps(places, values) -> dict[str, np.ndarray]:
    events = sound_events()
    events["t"][places] = values
    return events


def windows_of(path) -> np.ndarray:
    """Events in each of the recording's windows."""
    with open_recording(path) as recording:
        starts = range(START_US, START_US + SPAN_US, 25_000)
        return np.array([len(recording.read(start, start + 24_999).t) for start in starts])


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param == "many blocks":
        monkeypatch.setattr(raw, "_WORDS_PER_BLOCK", 301)
        for module in (hdf5, dat, numpy_files):
            monkeypatch.setattr(module, "_EVENTS_PER_BLOCK", 250)


PLACES = {
    "first": 0,
    "second": 1,
    "last of a block": 249,
    "first of a block": 250,
    "middle": 2600,
    "last": NUM - 1,
}
VALUES = {
    "0": lambda t: 0,
    "one second back": lambda t: t - 1_000_000,
    "30 seconds ahead": lambda t: t + 30_000_000,
    "bit 20": lambda t: t ^ 1 << 20,
    "bit 31": lambda t: t ^ 1 << 31,
    "all ones": lambda t: (1 << 32) - 1,
    "four hours ahead": lambda t: t + 14_400_000_000,
    "negative": lambda t: -(1 << 62),
    "years ahead": lambda t: 1 << 62,
}
TOO_LARGE = {  # for a format's stamps
    "h5": (),
    "npy": (),
    "EVT 2.0": ("negative", "years ahead"),
    "EVT 2.1": ("negative", "years ahead"),
    "EVT 3.0": ("bit 31", "four hours ahead", "negative", "years ahead"),
    "DAT": ("four hours ahead", "negative", "years ahead"),
}


@pytest.mark.parametrize("format_", ["h5", "DAT", "EVT 2.0", "EVT 2.1", "EVT 3.0", "npy"])
@pytest.mark.parametrize("place", PLACES)
def test_one_damaged_stamp_costs_one_event(tmp_path, blocks, format_, place):
    suffix, write = WRITERS[format_]
    right = windows_of(write(tmp_path / f"sound{suffix}", sound_events()))
    assert right.sum() == NUM
    i = PLACES[place]
    for name, value in VALUES.items():
        if name in TOO_LARGE[format_]:
            continue
        events = with_stamps(i, value(sound_events()["t"][i]))
        path = write(tmp_path / f"damaged{suffix}", events)
        if name == "bit 20" and place == "last":  # one second ahead, which is a pause that may be
            continue
        assert np.abs(windows_of(path) - right).sum() <= 2, name
        with open_recording(path) as recording:
            recording.read_rest()
            assert START_US <= recording.t_first_us < recording.t_last_us < START_US + SPAN_US, name
            assert recording.num_events == NUM
            assert recording.dropped["events_with_bad_stamp"] in (1, 2), name
            assert recording.stamps_corrected == 0, name


def test_a_run_of_damaged_stamps_is_outvoted_and_its_events_are_named(tmp_path, monkeypatch):
    """Also one that lies on both sides of a block's end."""
    monkeypatch.setattr(hdf5, "_EVENTS_PER_BLOCK", 1000)
    ahead = np.arange(980, 1020)
    events = with_stamps(ahead, sound_events()["t"][ahead] + 8_000)
    with open_recording(write_events(tmp_path / "a_td.h5", events)) as recording:
        kept = recording.read(0, 1 << 60)
        np.testing.assert_array_equal(kept.t, np.delete(events["t"], ahead))
        np.testing.assert_array_equal(kept.x, np.delete(events["x"], ahead))
        np.testing.assert_array_equal(kept.p, np.delete(events["p"], ahead))
        assert recording.dropped == {"events_out_of_frame": 0, "events_with_bad_stamp": 40}
        # Blocks that are read again drop the same.
        recording.release()
        np.testing.assert_array_equal(recording.read(0, 1 << 60).t, kept.t)
        assert recording.dropped["events_with_bad_stamp"] == 40


def test_small_steps_back_and_pauses_are_left_as_they_are(tmp_path, blocks):
    """Steps back of 34 us to 3 ms in under 1 % of the events; a second of silence, twice."""
    events = sound_events()
    events["t"][1000:] += 1_500_000
    events["t"][4000:] += 1_500_000
    events["t"][200::250] -= 3_000
    events["t"][201::500] -= 34
    right = np.maximum.accumulate(events["t"])
    with open_recording(write_events(tmp_path / "a_td.h5", events)) as recording:
        np.testing.assert_array_equal(recording.read(0, 1 << 60).t, right)
        assert recording.dropped == {"events_out_of_frame": 0}
        assert recording.stamps_corrected == np.count_nonzero(events["t"] < right) > 20


def test_two_early_stamps_do_not_outvote_what_a_block_before_them_ended_with():
    stamps_us = np.array([310_276, 310_375, 308_412, 308_636, 310_824])
    assert not find_contradicted(stamps_us, 310_213).any()


def ordered_by(column):
    events = make_events()
    order = np.argsort(events[column], kind="stable")
    return {name: values[order] for name, values in events.items()}


def with_many(change) -> dict[str, np.ndarray]:
    events = make_events()
    change(events)
    return events


def put_outside(events):
    events["x"][::50] = 500


def step_back(events):
    events["t"][50::50] -= 900


DAMAGED = {
    "ordered by polarity": (
        lambda: ordered_by("p"),
        "events_with_bad_stamp .* not in time order; use --sort-events",
    ),
    "ordered by column": (
        lambda: ordered_by("x"),
        "events_with_bad_stamp .* not in time order; use --sort-events",
    ),
    "one in fifty steps back": (
        lambda: with_many(step_back),
        "2.0% of 4000 events.*stamps_corrected 7",
    ),
    "one in fifty lies outside": (
        lambda: with_many(put_outside),
        "2.0% of 4000 events were dropped or corrected, expected at most 1% "
        ".events_out_of_frame 80.; "
        "if its sensor does not have 64x48 pixels, give the size",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_recording_of_which_more_than_a_hundredth_is_damaged_is_a_problem(tmp_path, case):
    make, sentence = DAMAGED[case]
    for split in ("train", "val", "test"):
        write_recording(tmp_path / "raw" / split, "a", make() if split == "val" else None)
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "out")
    assert len(summary.problems) == 1 and len(summary.manifests) == 2
    with pytest.raises(InputError, match=f"a_td.h5: .*{sentence}"):
        raise InputError(summary.problems[0])
    assert "PROBLEM" in str(summary) and not (tmp_path / "out/val/a").exists()


def test_reading_the_rest_of_a_recording_refuses_too_many_events_outside(tmp_path):
    with open_recording(write_events(tmp_path / "a_td.h5", with_many(put_outside))) as recording:
        assert recording.damage == ""  # nothing was read yet but stamps
        with pytest.raises(InputError, match=r"a_td\.h5: 2\.0% of 4000 events"):
            recording.read_rest()


def test_a_few_damaged_stamps_are_counted_and_the_recording_is_used(tmp_path):
    events = make_events()
    events["t"][[0, 2000, 3999]] = 1 << 40
    for split in ("train", "val", "test"):
        write_recording(
            tmp_path / "raw" / split, "a", events, make_boxes([100_000, 200_000, 300_000])
        )
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "out")
    assert not summary.problems and "events_with_bad_stamp 9" in str(summary)
    for manifest in summary.manifests:
        assert manifest["frames_without_events"] == 0 and manifest["t_last_us"] < 400_000
        with h5py.File(
            tmp_path / "out" / manifest["split"] / "a" / manifest["representation_path"]
        ) as file:
            assert [bool(frame.any()) for frame in file["data"]] == [True] * len(file["data"])


def test_a_recording_without_one_usable_stamp_is_a_sentence(tmp_path):
    path = write_events(tmp_path / "a_td.h5", make_events(5, start_us=-(1 << 50)))
    with pytest.raises(InputError, match="holds no events with usable time stamps"):
        open_recording(path)


@pytest.mark.parametrize("flipped_bit", range(12))
def test_a_damaged_time_word_of_evt3_does_not_move_what_follows(tmp_path, flipped_bit):
    words = evt3_words(sound_events())
    high_words = np.flatnonzero(words >> 12 == 0x8)
    right = windows_of(write_raw(tmp_path / "sound.raw", words, "3.0"))
    for place in (0, 1, 40, len(high_words) - 2):
        damaged = words.copy()
        damaged[high_words[place]] ^= 1 << flipped_bit
        path = write_raw(tmp_path / "a.raw", damaged, "3.0")
        # A word holds for 4 ms, about fifty events.
        assert np.abs(windows_of(path) - right).sum() <= 150


def test_a_lost_time_word_of_evt3_is_noticed(tmp_path):
    """Events a few milliseconds apart: time rises within the word before, so that nothing falls."""
    events = make_events(100, 800_000)
    events["t"] = np.arange(100) * 4_200
    words = evt3_words(events)
    high_words = np.flatnonzero(words >> 12 == 0x8)
    for lost in (20, 40):
        path = write_raw(tmp_path / "a.raw", np.delete(words, high_words[lost]), "3.0")
        with open_recording(path) as recording:
            stamps_us = recording.read(0, 1 << 60).t
            recording.read_rest()
            assert len(stamps_us) == 100 and np.abs(stamps_us - events["t"]).max() in (0, 4_096)
            assert recording.dropped["time_high_gaps"] >= 1
    with open_recording(
        write_raw(tmp_path / "a.raw", evt3_words(make_events()), "3.0")
    ) as recording:
        recording.read_rest()
        assert "time_high_gaps" not in recording.dropped
