from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.events.preprocessing.frame_times import select_frames, start_us
from etram_mmdet.utils.errors import InputError

WINDOW_US = 50_000
ABSOLUTE_US = 1_672_932_172_000_000


def label_times(hz, num, start_us=0):
    return start_us + np.rint(np.arange(1, num + 1) * 1e6 / hz).astype(np.int64)


@pytest.mark.parametrize("hz", [30, 60])
def test_labels_at_camera_rate_become_10_hz(hz):
    frames = select_frames(label_times(hz, hz), 12, "auto", WINDOW_US)
    assert frames.rule == "rvt"
    np.testing.assert_allclose(frames.label_us, np.arange(1, 11) * 100_000, atol=1)
    np.testing.assert_allclose(frames.repr_us, np.arange(2, 21) * 50_000, atol=1)
    np.testing.assert_array_equal(frames.repr_us[frames.repr_index], frames.label_us)


def test_a_recording_begins_at_0_or_at_its_first_event():
    assert [start_us(t) for t in (0, 3_000, 100_000)] == [0, 0, 0]
    assert [start_us(t) for t in (100_001, 900_000, ABSOLUTE_US)] == [100_001, 900_000, ABSOLUTE_US]


def test_absolute_time_changes_nothing_but_the_offset():
    near, far = (
        select_frames(label_times(30, 60, t), t, "rvt", WINDOW_US) for t in (0, ABSOLUTE_US)
    )
    np.testing.assert_allclose(far.repr_us - ABSOLUTE_US, near.repr_us, atol=1)
    np.testing.assert_array_equal(far.repr_index, near.repr_index)


def test_two_stamps_within_the_jitter_give_one_frame():
    times = np.sort(np.append(label_times(30, 30), label_times(30, 30)[5] + 1000))
    assert np.diff(select_frames(times, 0, "rvt", WINDOW_US).label_us).min() > 90_000


@pytest.mark.parametrize(
    ("times_us", "reason"),
    [
        ([120_000], "0 Hz"),
        (label_times(25, 30).tolist(), "25 Hz"),
        ([33_333, 66_667, 99_999], "first 100 ms"),
    ],
)
def test_auto_keeps_every_label_where_the_reference_stops(times_us, reason):
    times_us = np.array(times_us)
    frames = select_frames(times_us, 0, "auto", WINDOW_US)
    assert frames.rule == "all"
    np.testing.assert_array_equal(frames.label_us, times_us)
    np.testing.assert_array_equal(frames.repr_us[frames.repr_index], times_us)
    with pytest.raises(InputError, match=f"{reason}.*use --frames all"):
        select_frames(times_us, 0, "rvt", WINDOW_US)


def test_all_fills_gaps_and_warms_up_from_the_first_event():
    start = ABSOLUTE_US
    frames = select_frames(start + np.array([130_000, 150_000, 250_100]), start, "all", WINDOW_US)
    assert (frames.repr_us - start).tolist() == [80_000, 130_000, 150_000, 200_050, 250_100]
    assert frames.repr_index.tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("hz", "window_us", "step_us"),
    [(30, 50_000, 33_333), (25, 50_000, 40_000), (10, 20_000, 20_000)],
)
def test_all_steps_alike_before_and_between_the_labels(hz, window_us, step_us):
    frames = select_frames(label_times(hz, 20, 500_000), 0, "all", window_us)
    assert len(frames.repr_us) > 30
    np.testing.assert_allclose(np.diff(frames.repr_us), step_us, atol=1)


def test_label_without_a_full_window_keeps_its_representation():
    frames = select_frames(np.array([ABSOLUTE_US + 40_000]), ABSOLUTE_US, "auto", WINDOW_US)
    assert frames.repr_us.tolist() == [ABSOLUTE_US + 40_000] and frames.repr_index.tolist() == [0]


@pytest.mark.parametrize(
    "times_us",
    [[100_000], label_times(30, 30).tolist(), [ABSOLUTE_US - 40 * 10**9, ABSOLUTE_US + 1]],
)
def test_labels_on_another_clock_are_refused(times_us):
    with pytest.raises(
        InputError, match=f"are too far from the first event at {ABSOLUTE_US} us.*same clock"
    ):
        select_frames(np.array(times_us), ABSOLUTE_US, "auto", WINDOW_US)
