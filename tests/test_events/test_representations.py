from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.events.formats import Events
from etram_mmdet.events.representations import StackedHistogram

EVENT_SETS = ("uniform", "hot_pixel", "empty", "one", "same_t", "grid_t", "odd_span")
VARIANTS = {"sh10_fast": {}, "sh10_slow": dict(wrap_uint8=False), "sh10_nocut": dict(count_cutoff=None)}


def make(x, y, p, t) -> Events:
    events = Events(
        np.asarray(t, np.int64), np.asarray(x, np.uint16), np.asarray(y, np.uint16), np.asarray(p, np.uint8)
    )
    for column in events:
        column.flags.writeable = False  # nothing may write into its input
    return events


@pytest.mark.parametrize("event_set", EVENT_SETS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_reference(shared, event_set, variant):
    with np.load(shared / "golden" / "stacked_histogram.npz") as golden:
        events, expected = make(*golden[f"{event_set}/events"]), golden[f"{event_set}/{variant}"]
    full = StackedHistogram(48, 80, **VARIANTS[variant])(events)
    np.testing.assert_array_equal(full, expected)
    halved = StackedHistogram(48, 80, downsample="nearest", **VARIANTS[variant])(events)
    np.testing.assert_array_equal(halved, expected[:, 1::2, 1::2])


def test_reference_downsampling_is_every_second_pixel(shared):
    with np.load(shared / "golden" / "stacked_histogram.npz") as golden:
        np.testing.assert_array_equal(golden["ds2/in"][:, :, 1::2, 1::2], golden["ds2/out"])


def test_bins_are_computed_in_float32():
    # Just under the middle: bin 4 in exact arithmetic, bin 5 for the reference.
    events = make(x=[0, 1, 0], y=[0, 0, 0], p=[0, 0, 0], t=[0, 17_087_171, 34_174_344])
    assert StackedHistogram(height=1, width=2)(events)[:, 0, 1].nonzero()[0].tolist() == [5]


@pytest.mark.parametrize(("settings", "count"), [({}, 0), (dict(wrap_uint8=False), 10), (dict(count_cutoff=None), 0)])
def test_a_pixel_hit_256_times_reads_zero_unless_counts_do_not_wrap(settings, count):
    events = make(*np.zeros((4, 256)))
    assert StackedHistogram(height=1, width=1, bins=1, **settings)(events)[0, 0, 0] == count


def test_odd_frame_is_halved_downwards():
    events = make(x=[3, 4, 1], y=[1, 1, 4], p=[0, 0, 0], t=[0, 1, 2])
    histogram = StackedHistogram(height=5, width=5, bins=1, downsample="nearest")
    assert histogram.shape == (2, 2, 2)
    np.testing.assert_array_equal(histogram(events)[0], [[0, 1], [0, 0]])


def test_given_buffer_is_overwritten():
    histogram = StackedHistogram(height=4, width=4)
    out = np.full(histogram.shape, 7, np.uint8)
    assert histogram(make([1], [2], [1], [5]), out=out) is out
    assert out.sum() == 1 and out[10, 2, 1] == 1


@pytest.mark.parametrize("bad", [dict(bins=0), dict(count_cutoff=0), dict(downsample="half"), dict(edges="none")])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        StackedHistogram(height=4, width=4, **bad)


def test_events_outside_the_frame_are_refused():
    with pytest.raises(ValueError, match=r"x 4, y 2 on a sensor of 4x4"):
        StackedHistogram(height=4, width=4)(make([4], [2], [1], [5]))
