"""Unusual events of camera software give the same image or a sentence, never a dead process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations import REPRESENTATIONS, build_representation
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

HEIGHT, WIDTH = 12, 16
WINDOW_US = (0, 50_000)
NAMES = sorted(REPRESENTATIONS)


def sound_events(num: int = 500, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        np.sort(rng.choice(np.arange(WINDOW_US[1]), num, replace=False)),
        rng.integers(0, WIDTH, num).astype(np.uint16),
        rng.integers(0, HEIGHT, num).astype(np.uint16),
        rng.integers(0, 2, num).astype(np.uint8),
    )


def shuffled(events: Events) -> Events:
    order = np.random.default_rng(1).permutation(len(events.t))
    return Events(*(column[order] for column in events))


def strided(events: Events) -> Events:
    """As columns of one table of records are."""
    rows = np.zeros(len(events.t), [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
    for name, column in events._asdict().items():
        rows[name] = column
    return Events(*(rows[name] for name in Events._fields))


SAME = {
    "sound": lambda e: e,
    "-1 and 1": lambda e: e._replace(p=e.p.astype(np.int8) * 2 - 1),
    "False and True": lambda e: e._replace(p=e.p.astype(bool)),
    "polarity of 64 bits": lambda e: e._replace(p=e.p.astype(np.int64)),
    "out of order": shuffled,
    "latest first": lambda e: Events(*(column[::-1] for column in e)),
    "signed pixels": lambda e: e._replace(x=e.x.astype(np.int16), y=e.y.astype(np.int64)),
    "unsigned stamps": lambda e: e._replace(t=e.t.astype(np.uint64)),
    "stamps of 32 bits": lambda e: e._replace(t=e.t.astype(np.uint32)),
    "foreign byte order": lambda e: Events(
        *(column.astype(column.dtype.newbyteorder(">")) for column in e)
    ),
    "a table's columns": strided,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", SAME)
def test_the_image_is_that_of_the_same_events_in_order(name, odd):
    representation = build_representation(dict(type=name), HEIGHT, WIDTH)
    right = representation(sound_events(), WINDOW_US)
    assert len(np.unique(right)) > 2
    np.testing.assert_array_equal(representation(SAME[odd](sound_events()), WINDOW_US), right)


REFUSED = {
    "polarity 255": (
        lambda e: e._replace(p=np.where(e.p, 1, 255).astype(np.uint8)),
        "polarity from 1 to 255",
    ),
    "polarity -2": (
        lambda e: e._replace(p=e.p.astype(np.int8) - 2),
        "polarity from -2 to -1, expected 0 and 1",
    ),
    "x -1": (
        lambda e: e._replace(x=e.x.astype(np.int16) - 1),
        "from x -1, y 0 to x 14, y 11 on a sensor of 16x12",
    ),
    "x that wraps": (
        lambda e: e._replace(x=e.x.astype(np.int64) + (1 << 16)),
        "reach from x 65536",
    ),
    "y 12": (lambda e: e._replace(y=e.y + np.uint16(1)), "to x 15, y 12 on a sensor of 16x12"),
    "short p": (lambda e: e._replace(p=e.p[:-1]), "differ in length.*'p': 499"),
    "no x": (lambda e: e._replace(x=e.x[:0]), "differ in length.*'x': 0"),
    "stamps in seconds": (
        lambda e: e._replace(t=e.t / 1e6),
        "events.t is float64, expected integers",
    ),
    "pixels of a float": (
        lambda e: e._replace(x=e.x.astype(np.float32)),
        "events.x is float32, expected integers",
    ),
    "two dimensions": (
        lambda e: e._replace(y=e.y[:, None]),
        r"events.y is \(500, 1\), expected a NumPy array",
    ),
    "a list": (lambda e: e._replace(t=e.t.tolist()), "events.t is list, expected a NumPy array"),
    "another tuple": (tuple, r"events are tuple, expected Events\(t, x, y, p\)"),
    "before the window": (
        lambda e: e._replace(t=e.t - 1000),
        "reach beyond their window from 0 to 50000 us",
    ),
    "after the window": (
        lambda e: e._replace(t=e.t + 1000),
        "reach beyond their window from 0 to 50000 us",
    ),
    "damaged stamps": (
        lambda e: e._replace(t=e.t - (1 << 62) - 50_001),
        "us are damaged; drop them first",
    ),
    "unsigned too large": (
        lambda e: e._replace(t=e.t.astype(np.uint64) + np.uint64(1 << 63)),
        "us are damaged",
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", REFUSED)
def test_everything_else_is_a_sentence(name, odd):
    spoil, sentence = REFUSED[odd]
    representation = build_representation(dict(type=name), HEIGHT, WIDTH)
    with pytest.raises(InputError, match=sentence):
        representation(spoil(sound_events()), WINDOW_US)


@pytest.mark.parametrize("window_us", [(0,), (0, "end"), (0, float("nan")), (0, 1 << 70), 5])
def test_a_window_that_is_none_is_a_sentence(window_us):
    with pytest.raises(InputError, match="window_us is "):
        build_representation(dict(type="TimeSurface"), HEIGHT, WIDTH)(sound_events(), window_us)


@pytest.mark.parametrize("name", NAMES)
def test_an_array_to_write_into_has_the_shape_and_the_type(name):
    representation = build_representation(dict(type=name), HEIGHT, WIDTH)
    channels, height, width = representation.shape
    wrong = [
        np.zeros((channels, height - 1, width), representation.dtype),
        np.zeros((channels - 1, height, width), representation.dtype),
        np.zeros(representation.shape, np.float32),
        [0],
    ]
    for out in wrong:
        with pytest.raises(InputError, match=rf"out is .*, expected u?int8 \({channels}, 12, 16\)"):
            representation(sound_events(), WINDOW_US, out=out)


def test_no_events_are_an_empty_image_of_whatever_type():
    for dtype in (np.float64, np.int64, object):
        nothing = Events(*[np.empty(0, dtype)] * 4)
        assert not build_representation(dict(type="TernaryVolume"), HEIGHT, WIDTH)(
            nothing, WINDOW_US
        ).any()


# Columns of random types, lengths and layouts; values at the limits of types, sensor and window.
FUZZ = """
import sys
import numpy as np
from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations import REPRESENTATIONS, build_representation
from etram_mmdet.utils.errors import InputError

DTYPES = "i1 i2 i4 i8 u1 u2 u4 u8 >i4 ? f8".split()
LIMITS = [0, 1, -1, 2, 11, 12, 15, 16, 255, 256, 49_999, 50_000, 50_001, 65_535, 65_536]
LIMITS += [sign * (1 << power) for power in (15, 31, 32, 61, 62, 63) for sign in (-1, 1)]


def column(rng, num, most):
    values = rng.integers(0, most, num).tolist()
    for place in rng.integers(0, num, rng.integers(1, 4)) if num and rng.random() < 0.3 else ():
        values[place] = LIMITS[rng.integers(len(LIMITS))]
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))] if rng.random() < 0.5 else USUAL[most])
    as_in_c = np.array([value % (1 << 64) for value in values], np.uint64)
    values = as_in_c.astype(dtype) if dtype.kind in "iu" else np.array(values, float).astype(dtype)
    return np.repeat(values, 2)[::2] if rng.random() < 0.1 else values


USUAL = {50_000: "i8", 16: "u2", 12: "u2", 2: "u1"}
rng = np.random.default_rng(int(sys.argv[1]))
made = refused = 0
for _ in range(int(sys.argv[2])):
    name = sorted(REPRESENTATIONS)[rng.integers(len(REPRESENTATIONS))]
    downsample = ("none", "nearest", "sum")[rng.integers(3)]
    options = dict(type=name, downsample=downsample, edges=("events", "window")[rng.integers(2)])
    if name != "TimeSurface":
        options["bins"] = int(rng.choice([1, 3, 10, 33, 70]))
    representation = build_representation(options, 12, 16)
    num = int(rng.choice([0, 1, 2, 30]))
    lengths = [num] * 4 if rng.random() < 0.9 else rng.integers(0, 40, 4)
    columns = [column(rng, int(n), most) for n, most in zip(lengths, (50_000, 16, 12, 2))]
    if rng.random() < 0.6:
        columns[0] = np.sort(columns[0])
    window = (0, 50_000) if rng.random() < 0.9 else tuple(rng.choice(LIMITS, 2))
    try:
        image = representation(Events(*columns), window if rng.random() < 0.9 else None)
        assert image.shape == representation.shape
        made += 1
    except InputError:
        refused += 1
print(made, refused)
"""


def test_no_input_ends_the_process():
    """Run with a larger number of tries where a representation or the checks change."""
    command = [sys.executable, "-c", FUZZ, "0", "400"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    made, refused = map(int, done.stdout.split())
    assert made > 50 and refused > 50
