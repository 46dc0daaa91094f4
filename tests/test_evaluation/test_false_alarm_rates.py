"""Tuned thresholds keep their limit of false alarms per minute in a longer stream.

They are tuned on labelled windows; the stream has more windows than labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from etram_mmdet.evaluation.breakdown import stream_minutes
from etram_mmdet.evaluation.curves import class_counts
from etram_mmdet.evaluation.matching import match
from etram_mmdet.evaluation.operating_points.goals import FalseAlarms
from etram_mmdet.evaluation.operating_points.rates import Stream
from etram_mmdet.evaluation.operating_points.tuning import Options, choose_points
from etram_mmdet.evaluation.results import Boxes, FrameResult

CLASSES = ("pedestrian", "car", "bicycle", "bus")
RECORDINGS = 20
WINDOWS = 600  # of 50 ms, so half a minute


def bursts(
    per_min: float, windows: float, level: float, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """(window, score) of objects that are detected in windows in a row, with similar scores."""
    seen = []
    for start in rng.integers(0, WINDOWS, rng.poisson(per_min / 2)).tolist():
        sure = level + 0.1 * rng.standard_normal()
        for window in range(start, min(start + rng.geometric(1 / windows), WINDOWS)):
            seen.append((window, np.clip(sure + 0.03 * rng.standard_normal(), 0.01, 1)))
    return seen


def boxes_at(x: np.ndarray) -> Boxes:
    """Boxes at the given x: those of class k at 100 * k, false alarms further to the right."""
    return Boxes(
        np.float32([[left, 0, left + 50, 50] for left in x]).reshape(-1, 4), x % 500 // 100
    )


def streets(seed: int) -> list[FrameResult]:
    """Ten minutes of an imperfect detector; streets and classes differ in their false alarms."""
    rng = np.random.default_rng(seed)
    frames = []
    for recording in range(RECORDINGS):
        columns = [{} for _ in range(WINDOWS)]  # score of the detection at x
        deceptive = rng.gamma(4, 1 / 4)
        for label in range(len(CLASSES)):
            for window, score in bursts(120 * deceptive / (1 + label), 6, 0.35, rng):
                columns[window][500 + 100 * label] = score
            for window, score in bursts(60, 15, 0.7, rng):
                columns[window][100 * label] = score
        for window, score_at in enumerate(columns):
            x = np.array(sorted(score_at), np.int64)
            found = replace(boxes_at(x), scores=np.float32([score_at[each] for each in x]))
            frames.append(
                FrameResult(f"street_{recording:02d}", 50_000 * window, boxes_at(x[x < 500]), found)
            )
    return frames


@pytest.fixture(scope="module")
def tuned_on() -> list[FrameResult]:
    """Labels at 30 Hz fall on every second window."""
    return streets(0)[::2]


@pytest.fixture(scope="module")
def deployed() -> list[FrameResult]:
    return streets(1)


def test_bounds_are_kept_in_the_stream(tuned_on, deployed):
    """Limits of 10 and 30: the sum is at most 1.2 times the limits.

    No class exceeds its own limit by more than chance.
    """
    minutes = stream_minutes(deployed)
    total = 0
    for bound in (10, 30):
        points, _, _ = choose_points(tuned_on, CLASSES, Options(FalseAlarms(bound)))
        counts = class_counts(
            match([points.apply(f) for f in deployed], [0.5]), len(CLASSES), np.zeros(1)
        )
        alarms = np.array([c.alarms.item() for c in counts])
        total += alarms.sum() / minutes
        assert (stats.chi2.ppf(0.025, 2 * alarms) / 2 <= bound * minutes).all()
        assert (alarms > 0.1 * bound * minutes).any() and all(
            c.recall > 0.3 for c in counts
        )  # the budget is used
    assert minutes == pytest.approx(10) and total <= 1.2 * len(CLASSES) * (10 + 30)


@pytest.mark.parametrize(
    "minutes", [np.full(20, 0.25), np.r_[4.05, np.full(19, 0.05)]], ids=["equal", "one long"]
)
def test_bursts_are_told_from_recordings_of_any_length(minutes):
    """Alarms in bursts of five, in recordings of equal and of very different length."""
    rng = np.random.default_rng(0)
    alarms = 5 * rng.poisson(10 * minutes[:, None, None] / 5, (200, 20, 8, 1))
    assert np.mean([Stream(minutes, each, 1).burst(10) for each in alarms]) == pytest.approx(
        5, rel=0.1
    )
