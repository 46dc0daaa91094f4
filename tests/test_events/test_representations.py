from __future__ import annotations

import numpy as np
import pytest
import torch

from etram_mmdet.events.choices import COLUMN_NAMES
from etram_mmdet.events.formats import Events
from etram_mmdet.events.preprocessing.sequence_folder import representation_path
from etram_mmdet.events.representations import (
    REPRESENTATIONS,
    MixedDensityEventStack,
    Representation,
    StackedHistogram,
    TernaryVolume,
    TimeSurface,
    build_representation,
    channels_of,
    stated_options,
)
from etram_mmdet.events.representations.downsampling import downsampled
from etram_mmdet.utils.errors import InputError
from tests.reference.answers import load
from tests.reference.event_sets import HEIGHT, WIDTH, event_sets, maps_to_halve

EVENT_SETS = event_sets()
VARIANTS = {
    "sh10_fast": {},
    "sh10_slow": dict(wrap_uint8=False),
    "sh10_nocut": dict(count_cutoff=None),
}


def make(x, y, p, t) -> Events:
    events = Events(
        np.asarray(t, np.int64),
        np.asarray(x, np.uint16),
        np.asarray(y, np.uint16),
        np.asarray(p, np.uint8),
    )
    for column in events:
        column.flags.writeable = False  # nothing may write into its input
    return events


@pytest.fixture(scope="module")
def answers():
    return load("representations")


@pytest.mark.parametrize("event_set", EVENT_SETS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_reference(answers, event_set, variant):
    events = make(*EVENT_SETS[event_set])
    expected = answers[f"{event_set} {variant}"]
    full = StackedHistogram(HEIGHT, WIDTH, **VARIANTS[variant])(events)
    np.testing.assert_array_equal(full, expected)
    halved = StackedHistogram(HEIGHT, WIDTH, downsample="nearest", **VARIANTS[variant])(events)
    np.testing.assert_array_equal(halved, expected[:, 1::2, 1::2])


@pytest.mark.parametrize("dtype", maps_to_halve())
def test_reference_downsampling_is_every_second_pixel(answers, dtype):
    halved = answers[f"halved {dtype}"]
    assert halved.dtype == dtype
    np.testing.assert_array_equal(maps_to_halve()[dtype][:, :, 1::2, 1::2], halved)


def test_bins_are_computed_in_float32():
    # Just under the middle: bin 4 in exact arithmetic, bin 5 for the reference.
    events = make(x=[0, 1, 0], y=[0, 0, 0], p=[0, 0, 0], t=[0, 17_087_171, 34_174_344])
    assert StackedHistogram(height=1, width=2)(events)[:, 0, 1].nonzero()[0].tolist() == [5]


@pytest.mark.parametrize(
    ("settings", "count"), [({}, 0), (dict(wrap_uint8=False), 10), (dict(count_cutoff=None), 0)]
)
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


@pytest.mark.parametrize(
    "bad", [dict(bins=0), dict(count_cutoff=0), dict(downsample="half"), dict(edges="none")]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        StackedHistogram(height=4, width=4, **bad)


def test_events_outside_the_frame_are_refused():
    with pytest.raises(ValueError, match=r"x 4, y 2 on a sensor of 4x4"):
        StackedHistogram(height=4, width=4)(make([4], [2], [1], [5]))


@pytest.mark.parametrize("event_set", EVENT_SETS)
@pytest.mark.parametrize(("variant", "cutoff"), [("md_32", 32), ("md_none", None)])
def test_mixed_density_equals_the_reference(answers, event_set, variant, cutoff):
    expected = answers[f"{event_set} {variant}"]
    stack = MixedDensityEventStack(HEIGHT, WIDTH, count_cutoff=cutoff)(make(*EVENT_SETS[event_set]))
    assert stack.dtype == expected.dtype == np.int8
    np.testing.assert_array_equal(stack, expected)


@pytest.mark.parametrize("bins", [33, 40, 64])
def test_mixed_density_with_many_bins_holds_the_same_as_with_32(bins):
    """The first bins end before a time that float32 distinguishes from the window's start."""
    events = random_events()
    stack = MixedDensityEventStack(48, 80, bins=bins)(events)
    np.testing.assert_array_equal(stack[-32:], MixedDensityEventStack(48, 80, bins=32)(events))
    assert not stack[:-32].any() and stack.any()


def random_events(num=3000, height=48, width=80, seed=0) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(1000, 50_000, num))
    return make(
        rng.integers(0, width, num), rng.integers(0, height, num), rng.integers(0, 2, num), t
    )


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_nearest_is_every_second_pixel_and_no_event_is_zero(name):
    """Pixels are independent, so leaving events out equals leaving pixels out afterwards."""
    events = random_events()
    full = build_representation(dict(type=name, edges="events"), 48, 80)
    halved = build_representation(dict(type=name, edges="events", downsample="nearest"), 48, 80)
    assert halved.shape == (channels_of(dict(type=name)), 24, 40) and full.scale * 2 == halved.scale
    np.testing.assert_array_equal(halved(events), full(events)[:, 1::2, 1::2])
    untouched = np.ones((48, 80), bool)
    untouched[events.y, events.x] = False
    assert untouched.any() and not full(events)[:, untouched].any()
    out = np.full(full.shape, 3, full.dtype)
    np.testing.assert_array_equal(full(events, out=out), full(events))
    assert not full(make([], [], [], [])).any()


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("downsample", ["nearest", "sum"])
def test_odd_frames_are_halved_downwards(name, downsample):
    representation = build_representation(
        dict(type=name, edges="events", downsample=downsample), 5, 7
    )
    corner = make([6, 6, 0], [0, 4, 4], [1, 1, 1], [0, 1, 2])
    assert representation.shape[1:] == (2, 3)
    assert not representation(corner).any()


def test_sum_keeps_every_event_and_saturates():
    events = make(x=[2, 3, 2, 3, 0], y=[4, 4, 5, 5, 0], p=[1, 1, 1, 1, 0], t=[0, 1, 2, 3, 4])
    histogram = StackedHistogram(6, 4, bins=1, downsample="sum")(events)
    assert histogram[1, 2, 1] == 4 and histogram[0, 0, 0] == 1 and histogram.sum() == 5
    assert StackedHistogram(6, 4, bins=1, count_cutoff=3, downsample="sum")(events)[1, 2, 1] == 3
    many = make(*np.zeros((4, 300)))
    assert StackedHistogram(2, 2, bins=1, count_cutoff=None, downsample="sum")(many)[0, 0, 0] == 255
    everything = StackedHistogram(48, 80, count_cutoff=None, downsample="sum")(random_events())
    assert everything.sum(dtype=int) == 3000


def test_window_edges_divide_the_window_and_not_the_events():
    """Events in its first fifth: with the window's edges they stay in the first of five bins."""
    events = make(x=[0, 0, 0], y=[0, 0, 0], p=[1, 1, 1], t=[100, 105, 109])
    window = (100, 150)
    by_events = StackedHistogram(1, 1, bins=5)(events, window)
    by_window = StackedHistogram(1, 1, bins=5, edges="window")(events, window)
    assert by_events[5:, 0, 0].tolist() == [1, 0, 1, 0, 1]
    assert by_window[5:, 0, 0].tolist() == [3, 0, 0, 0, 0]
    last = make([0], [0], [1], [150])  # both ends belong to the window
    assert StackedHistogram(1, 1, bins=5, edges="window")(last, window)[9, 0, 0] == 1
    with pytest.raises(ValueError, match="edges='window' needs the argument window_us"):
        StackedHistogram(1, 1, edges="window")(events)


def test_ternary_volume_shows_the_last_polarity():
    events = make(x=[1, 1, 1, 0], y=[0, 0, 0, 0], p=[1, 0, 1, 0], t=[0, 10, 60, 100])
    volume = TernaryVolume(1, 2, bins=2)(events)
    assert volume.dtype == np.int8 and volume[:, 0].tolist() == [[0, -1], [-1, 1]]


def test_time_surface_counts_age_from_the_end_of_the_window():
    events = make(x=[0, 0, 1], y=[0, 0, 0], p=[1, 1, 0], t=[0, 1000, 3000])
    surface = TimeSurface(1, 3, decay_us=1000)(events, (0, 4000))
    assert surface[1, 0].tolist() == [round(255 * np.exp(-3)), 0, 0]
    assert surface[0, 0].tolist() == [0, round(255 * np.exp(-1)), 0]
    long_ago = TimeSurface(1, 3, decay_us=1)(events, (0, 4000))
    assert long_ago[1, 0, 0] == 1  # still to be told from a pixel without events
    with pytest.raises(
        InputError, match="TimeSurface: edges='window' needs the argument window_us"
    ):
        TimeSurface(1, 3)(events)


def test_time_surface_decays_in_a_third_of_the_window_wherever_the_events_lie():
    """An event 49 ms old is nearly forgotten, whether or not another one comes after it."""
    surface = TimeSurface(1, 1)(make([0], [0], [1], [1_000]), (0, 50_000))
    assert surface[1, 0, 0] == round(255 * np.exp(-49 * 3 / 50)) == 13
    early = make([0, 0], [0, 0], [1, 0], [1_000, 2_000])
    assert TimeSurface(1, 1)(early, (0, 50_000))[:, 0, 0].tolist() == [14, 13]


def test_time_surface_from_the_last_event_is_still_there_for_networks_that_were_trained_so():
    events = make(x=[0, 0, 1], y=[0, 0, 0], p=[1, 1, 0], t=[0, 1000, 3000])
    surface = build_representation(dict(type="TimeSurface", decay_us=1000, edges="events"), 1, 3)(
        events, (0, 4000)
    )
    assert surface[1, 0].tolist() == [round(255 * np.exp(-2)), 0, 0] and surface[0, 0].tolist() == [
        0,
        255,
        0,
    ]


def test_time_surface_says_in_settings_and_folder_names_what_age_counts_from():
    """Folders and settings of earlier versions say nothing where age counts from the last event."""
    by_window = TimeSurface(2, 2)
    assert by_window.config == dict(type="TimeSurface", edges="window")
    assert representation_path(by_window, 50_000).parent.name == "time_surface_dt=50_edges=window"
    by_events = TimeSurface(2, 2, edges="events")
    assert by_events.config == dict(type="TimeSurface", edges="events")
    assert representation_path(by_events, 50_000).parent.name == "time_surface_dt=50"
    assert stated_options(dict(type="TimeSurface", decay_us=5)) == dict(
        type="TimeSurface", decay_us=5, edges="window"
    )
    assert stated_options(dict(type="TimeSurface"), is_old=True)["edges"] == "events"
    assert (
        stated_options(dict(type="TimeSurface", edges="window"), is_old=True)["edges"] == "window"
    )
    for other in (
        dict(type="StackedHistogram", bins=3),
        dict(type="Unknown"),
        dict(type=["a list"]),
    ):
        assert stated_options(other) == stated_options(other, is_old=True) == other


def test_a_representation_of_a_few_lines_is_known_by_its_name():
    class LastRow(Representation):
        short_name = "last_row"
        num_channels = 1

        def _fill(self, events, t0_us, t1_us, out):
            out[:] = 0
            out[0, -1, events.x] = 1

    try:
        assert channels_of(dict(type="LastRow")) == 1
        image = build_representation(dict(type="LastRow"), 2, 3)(make([1], [0], [1], [5]))
        assert image.tolist() == [[[0, 0, 0], [0, 1, 0]]]
    finally:
        del REPRESENTATIONS["LastRow"]


@pytest.mark.parametrize(
    ("cfg", "sentence"),
    [
        (
            dict(type="StackedHistograms"),
            "'StackedHistograms' is unknown; did you mean StackedHistogram?",
        ),
        (
            dict(type="TernaryVolume", bin=3),
            "TernaryVolume: unknown option 'bin'; did you mean bins?",
        ),
        (dict(type="TimeSurface", decay_us=0), "TimeSurface: decay_us=0, expected at least 1"),
        (
            dict(type="TimeSurface", downsample="max"),
            "downsample='max', expected one of none, nearest, sum",
        ),
        (dict(), "representation None is unknown"),
    ],
)
def test_bad_config_is_a_sentence(cfg, sentence):
    with pytest.raises(InputError) as error:
        build_representation(cfg, 4, 4)
    assert sentence in str(error.value)


class TestWholeFactors:
    """Frames smaller by any whole factor; old words mean a half."""

    @pytest.mark.parametrize(
        "said, word, scale",
        [
            ("none", "none", 1),
            (1, "none", 1),
            ("sum1", "none", 1),
            ("sum", "sum", 2),
            ("2", "sum", 2),
            ("nearest2", "nearest", 2),
            (8, "sum8", 8),
            ("nearest03", "nearest3", 3),
        ],
    )
    def test_one_word_for_one_meaning(self, said, word, scale):
        representation = build_representation(
            dict(type="TernaryVolume", downsample=said), 720, 1280
        )
        assert (representation.downsample, representation.scale) == (word, scale)
        assert representation.shape == (5, 720 // scale, 1280 // scale)

    @pytest.mark.parametrize(
        "said", ["", "half", "sum-2", "sum2.5", 2.5, 0, -1, True, "none2", "sum99999", "nearest0"]
    )
    def test_what_is_no_whole_factor_is_a_sentence(self, said):
        with pytest.raises(
            InputError, match=r"downsample=.*, expected one of none, nearest, sum; .* whole factor"
        ):
            build_representation(dict(type="StackedHistogram", downsample=said), 48, 80)

    def test_a_factor_that_leaves_no_pixel_is_a_sentence(self):
        representation = build_representation(dict(type="StackedHistogram", downsample=60), 48, 80)
        with pytest.raises(
            InputError,
            match="downsample='sum60' leaves no pixel of a sensor of 80x48; choose a smaller",
        ):
            representation(random_events())

    @pytest.mark.parametrize("factor", [2, 3, 5, 8])
    def test_sum_adds_the_pixels_of_a_square_and_nearest_keeps_one(self, factor):
        events = random_events()
        whole = StackedHistogram(48, 80, count_cutoff=None)(events).astype(int)
        height, width = 48 // factor, 80 // factor
        squares = whole[:, : height * factor, : width * factor].reshape(
            20, height, factor, width, factor
        )
        summed = StackedHistogram(48, 80, count_cutoff=None, downsample=f"sum{factor}")
        np.testing.assert_array_equal(summed(events), np.minimum(squares.sum((2, 4)), 255))
        nearest = StackedHistogram(48, 80, count_cutoff=None, downsample=f"nearest{factor}")
        np.testing.assert_array_equal(nearest(events), squares[:, :, factor // 2, :, factor // 2])
        lost = [
            len(events.t) - int(kept.sum())
            for kept in (squares, squares[:, :, factor // 2, :, factor // 2])
        ]
        assert [summed.count_left_out(events), nearest.count_left_out(events)] == lost

    @pytest.mark.parametrize("factor", [2, 3, 8])
    def test_nearest_takes_the_pixel_that_resizing_takes(self, factor):
        """torch's "nearest-exact", which RVT's preprocessing uses for a half."""
        whole = torch.arange(48 * 80, dtype=torch.float32).reshape(1, 1, 48, 80)
        size = (48 // factor * factor, 80 // factor * factor)
        resized = torch.nn.functional.interpolate(
            whole[..., : size[0], : size[1]],
            scale_factor=1 / factor,
            mode="nearest-exact",
            recompute_scale_factor=True,
        )
        expected = resized.numpy()[0, 0].astype(int).ravel()
        y, x = np.divmod(np.arange(48 * 80), 80)
        kept = downsampled(
            Events(np.zeros(len(x)), x, y, x), factor, True, 48 // factor, 80 // factor
        )
        assert [place % factor for place in (expected[0] % 80, expected[0] // 80)] == [
            factor // 2
        ] * 2
        np.testing.assert_array_equal(
            kept.y * (80 // factor) + kept.x, np.arange((48 // factor) * (80 // factor))
        )
        np.testing.assert_array_equal(kept.p, expected % 80)

    @pytest.mark.parametrize("name", REPRESENTATIONS)
    def test_a_sum_of_a_whole_frame_does_not_wrap(self, name):
        """300 events on each of two pixels; a fifth of them off."""
        t = np.arange(600, dtype=np.int64)
        events = Events(t, (t % 2).astype("u2"), np.zeros(600, "u2"), (t % 5 > 0).astype("u1"))
        cutoff = (
            dict(count_cutoff=None)
            if name in ("StackedHistogram", "MixedDensityEventStack")
            else {}
        )
        image = build_representation(
            dict(type=name, downsample=16, edges="events", **cutoff), 16, 16
        )(events)
        assert image.shape[1:] == (1, 1)
        if name == "MixedDensityEventStack":
            assert image[-1, 0, 0] == 127
        else:
            assert image.any()


SDK_EVENTS = [(5, 1, 2, 0), (7, 3, 4, 1), (9, 5, 6, 1)]


@pytest.mark.parametrize(
    "kinds",
    [
        [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")],  # Metavision
        [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "?")],  # dv-processing
        [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")],  # aedat, faery
        [("p", ">i4"), ("Y", ">u4"), ("X", ">i8"), ("ts", ">u4")],
    ],
)
@pytest.mark.parametrize("off", [0, -1])
def test_structured_arrays_of_other_software(kinds, off):
    table = np.zeros(3, kinds)
    names = {c: n for c in "txyp" for n in table.dtype.names if n.lower() in COLUMN_NAMES[c]}
    for column, values in zip("txyp", zip(*SDK_EVENTS, strict=True), strict=True):
        table[names[column]] = [off if column == "p" and value == 0 else value for value in values]
    if off == -1 and table.dtype[names["p"]].kind == "b":
        table[names["p"]] = [False, True, True]
    t, x, y, p = zip(*SDK_EVENTS, strict=True)
    representation = StackedHistogram(48, 80, edges="window")
    expected = representation(make(x, y, p, t), (0, 10))
    assert expected.sum() == 3
    np.testing.assert_array_equal(representation(table, (0, 10)), expected)
    assert representation(table[:0], (0, 10)).sum() == 0


def test_structured_arrays_that_are_no_events_are_a_sentence():
    representation = StackedHistogram(48, 80)
    with pytest.raises(
        InputError, match="events have the fields x, y, t, but no p; expected t, x, y and p"
    ):
        representation(np.zeros(3, [("x", "u2"), ("y", "u2"), ("t", "i8")]))
    with pytest.raises(InputError, match="polarity from 0 to 2"):
        representation(np.array([(1, 2, 3, 0), (1, 2, 3, 2)], [(n, "i8") for n in "txyp"]))
    with pytest.raises(InputError, match=r"events.t is float64, expected integers"):
        representation(np.zeros(3, [(n, "f8") for n in "txyp"]))
