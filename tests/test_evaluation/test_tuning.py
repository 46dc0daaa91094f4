"""Tuning: thresholds compared with hand-computed ones, and gains on unseen recordings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from etram_mmdet.evaluation.curves import Counts, class_counts
from etram_mmdet.evaluation.matching import match
from etram_mmdet.evaluation.operating_points.goals import FalseAlarms, FBeta, Precision, Recall
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.operating_points.rates import Stream
from etram_mmdet.evaluation.operating_points.report import format_tuning, numbers, points_as_config
from etram_mmdet.evaluation.operating_points.tuning import THRESHOLDS, Options, choose_points, tune
from etram_mmdet.utils.errors import InputError
from tests.test_evaluation.test_breakdown import square
from tests.test_evaluation.test_matching import frame

CLASSES = ("pedestrian", "car")
# counts of a class with ten boxes, at thresholds from low to high
COUNTS = Counts(np.array([8, 8, 6, 3, 0]), np.array([24, 8, 3, 0, 0]), 10)
TWO_MINUTES = Stream(np.array([2.0]), np.zeros((1, 1, 5), int), empty_frames=1)


@pytest.mark.parametrize(
    "goal, index, is_reached",
    [
        (FBeta(1), 2, True),  # F1: .381, .615, .632, .462, 0
        (FBeta(2), 1, True),  # recall counts more: .556, .714, .612, .349, 0
        (FBeta(0.5), 3, True),  # .290, .541, .652, .682, 0
        (Precision(0.6), 2, True),  # .25, .5, .667, 1, none
        (Precision(1.0), 3, True),
        (Recall(0.7), 1, True),  # .8 at both of the first; the second is more precise
        (Recall(0.9), 1, False),
        # in two minutes; limits are 18.5, 8.1, 4.4, 1.661 and 1.661 a minute
        (FalseAlarms(4.5), 2, True),
        (FalseAlarms(1.7), 3, True),
        (FalseAlarms(1.6), 3, False),
        (FalseAlarms(0), 3, False),
    ],
)
def test_goals(goal, index, is_reached):
    chosen = goal.choose(COUNTS, TWO_MINUTES)
    assert chosen == index and goal.is_reached(COUNTS, chosen, TWO_MINUTES) == is_reached


def test_a_precision_that_nothing_reaches():
    goal, counts = Precision(0.9), Counts(np.array([2, 1, 0]), np.array([8, 1, 1]), 5)
    assert goal.choose(counts, TWO_MINUTES) == 1 and not goal.is_reached(counts, 1, TWO_MINUTES)


@pytest.mark.parametrize(
    "goal, bound", [(Precision, 0), (Recall, 1.1), (FalseAlarms, -1), (FBeta, 0)]
)
def test_impossible_goals(goal, bound):
    with pytest.raises(InputError, match="expected"):
        goal(bound)


def street(recording: str, hit: float, alarm: float, count: int = 30) -> list:
    """Frames at 10 Hz, each with a pedestrian that is found with score ``hit``.

    Beside it is a false alarm of score ``alarm``.
    """
    found = [square(20), square(20, 100)]
    one = frame([square(20)], found, scores=[hit, alarm], found_labels=[0, 0], recording=recording)
    return [one._replace(t_us=100_000 * t) for t in range(count)]


def test_thresholds_lie_between_alarms_and_hits():
    points, common, notes = choose_points(street("a", 0.6, 0.4), CLASSES, Options(FBeta()))
    assert points.score_thr[0, 0] == pytest.approx(0.6) and common == pytest.approx(0.6)
    assert points.score_thr[1, 0] == common and "car: only 0 boxes (fewer than 20)" in notes[0]


def test_the_gain_is_counted_where_it_was_not_tuned():
    """Each recording has another best threshold, so tuning on the other one does not help it."""
    frames = street("a", 0.9, 0.8) + street("b", 0.7, 0.6)
    tuned = tune(frames, CLASSES, Options(FBeta()), before_thr=0.05)
    assert sorted(p.score_thr[0, 0] for p in tuned.of_folds) == pytest.approx([0.7, 0.9])
    # a, at the threshold of b: 30 hits, 30 alarms. b, at the threshold of a: nothing.
    assert (tuned.after[0].hits.item(), tuned.after[0].alarms.item(), tuned.after[0].boxes) == (
        30,
        30,
        60,
    )
    assert (tuned.before[0].hits.item(), tuned.before[0].alarms.item()) == (60, 60)
    seen, _, _ = choose_points(frames, CLASSES, Options(FBeta()))
    assert tuned.points.score_thr[0, 0] == seen.score_thr[0, 0]


def wrong(label: int, side: float, count: int = 30) -> list:
    """Frames at 10 Hz with a box that is never found and a detection elsewhere."""
    labels = [label]
    one = frame(
        [square(side)],
        [square(side, 100)],
        [0.7],
        labels=labels,
        found_labels=labels,
        recording="b",
    )
    return [one._replace(t_us=100_000 * t) for t in range(count)]


@pytest.mark.parametrize(
    ("frames", "options", "says"),
    [
        (wrong(1, 20), Options(FBeta()), "car: switched off by a threshold of 1.00"),
        (wrong(1, 20), Options(Recall(0.8)), "car: switched off by a threshold of 1.00"),
        (wrong(1, 20), Options(FalseAlarms(1)), "car: switched off by a threshold of 0.71"),
        (wrong(1, 20, 10), Options(FalseAlarms(1)), "car: switched off by a threshold of 0.71"),
        (
            wrong(0, 10),
            Options(FBeta(), by_size=True),
            "pedestrian, sides below 16 px: switched off by a threshold",
        ),
    ],
)
def test_nothing_is_switched_off_without_a_word(frames, options, says):
    points, _, notes = choose_points(street("a", 0.6, 0.4) + frames, CLASSES, options)
    told = next(note for note in notes if "switched off" in note)
    assert told.startswith(says) and told.endswith(
        "since none of its detections is correct at any score"
    )
    assert points.switched_off == (["car"] if "car" in says and "1.00" in says else [])


def test_a_goal_that_allows_no_detection_says_so():
    """Every hit comes with an alarm of higher score, and no alarm is allowed."""
    _, _, notes = choose_points(street("a", 0.4, 0.6), CLASSES, Options(FalseAlarms(0)))
    assert (
        "pedestrian: switched off by a threshold of 0.61, since the goal allows none of its "
        "detections" in notes
    )


def test_one_recording_is_judged_on_blocks_of_its_time():
    """Each of two blocks has another best threshold, as in the test of two recordings."""
    early, late = street("a", 0.9, 0.8), street("a", 0.7, 0.6)
    frames = [early[0], late[1], frame([], [], recording="empty")]
    tuned = tune(frames, CLASSES, Options(FBeta()), before_thr=0.05)
    assert sorted(p.score_thr[0, 0] for p in tuned.of_folds) == pytest.approx([0.7, 0.9])
    assert (tuned.after[0].hits.item(), tuned.after[0].alarms.item(), tuned.after[0].boxes) == (
        1,
        1,
        2,
    )
    # Blocks are connected: the first six of 30 frames in order are one of five blocks.
    lasting = tune([*early[:6], *late[6:]], CLASSES, Options(FBeta()), before_thr=0.05)
    assert len(lasting.of_folds) == 5
    assert (lasting.after[0].hits.item(), lasting.after[0].alarms.item()) == (30, 6)
    assert "all boxes are in one recording" in tuned.notes[0]
    assert "at IoU .5, on blocks of time left out of the tuning" in format_tuning(tuned, 0.05)


def test_too_few_frames_with_boxes_are_refused():
    with pytest.raises(
        InputError, match=r"1 of 1 frames hold boxes.*at least two frames with boxes"
    ):
        tune(street("a", 0.6, 0.4, count=1), CLASSES, Options(FBeta()), 0.3)
    with pytest.raises(InputError, match=r"0 of 2 frames hold boxes"):
        tune([frame([], []), frame([], [], recording="b")], CLASSES, Options(FBeta()), 0.3)


def test_sizes_get_their_own_thresholds():
    """Small pedestrians are found with score .3, large ones with .8.

    A size with few boxes gets the threshold of the class.
    """
    small = frame(
        [square(10)], [square(10), square(10, 100)], scores=[0.3, 0.2], found_labels=[0, 0]
    )
    large = frame(
        [square(50)], [square(50), square(50, 100)], scores=[0.8, 0.7], found_labels=[0, 0]
    )
    points, _, _ = choose_points(
        [small] * 30 + [large] * 40, CLASSES, Options(FBeta(), by_size=True)
    )
    class_thr = choose_points([small] * 30 + [large] * 40, CLASSES, Options(FBeta()))[0].score_thr[
        0, 0
    ]
    assert points.sides_px == (16, 32)
    assert points.score_thr[0] == pytest.approx([0.3, class_thr, 0.8])


def test_nms_is_taken_where_it_helps():
    """Each pedestrian is detected twice, with IoU .6 and nearly equal scores; cars need no NMS."""
    twice = [[0, 0, 10, 10], [2.5, 0, 12.5, 10]]
    frames = []
    # no threshold keeps all first detections and removes all second ones
    for scores in ([0.9, 0.85], [0.8, 0.75]):
        frames += [frame([twice[0]], twice, scores=scores, found_labels=[0, 0])] * 20
        frames += [frame(twice, twice, scores=scores, labels=[1, 1], found_labels=[1, 1])] * 20
    points, _, _ = choose_points(frames, CLASSES, Options(FBeta(), nms_ious=(0.5,)))
    assert points.nms_iou.tolist() == [0.5, 1.0]


def test_text_and_fragment(tmp_path):
    frames = street("a", 0.6, 0.4) + street("b", 0.6, 0.4)
    tuned = tune(frames, CLASSES, Options(FBeta()), 0.7)
    text = format_tuning(tuned, 0.7)
    row = next(line for line in text.splitlines() if line.startswith("pedestrian"))
    assert row.split() == ["pedestrian", "60", "-", "0.000", "0.000", *["1.000"] * 6, "0.0", "0.60"]
    assert (
        "WARNING car: only 0 boxes" in text
        and next(line for line in text.splitlines() if line.startswith("car")).count("-") >= 9
    )
    namespace: dict = {}
    exec(points_as_config(tuned.points, ["Made by hand."]), namespace)
    assert namespace["operating_points"] == dict(score_thr=dict(pedestrian=0.6, car=0.6))
    assert np.isnan(numbers(Counts(np.zeros(1, int), np.zeros(1, int), 5))[0])


def test_thresholds_have_two_digits():
    assert np.allclose(THRESHOLDS, THRESHOLDS.round(2))


def test_a_recording_without_boxes_does_not_stop_the_folds():
    """Two recordings with boxes and three without, whatever fold these fall into."""
    frames = (
        street("a", 0.6, 0.4)
        + street("b", 0.6, 0.4)
        + [frame([], [square(9)], [0.5], recording=n) for n in "xyz"]
    )
    tuned = tune(frames, CLASSES, Options(FBeta()), 0.3)
    assert len(tuned.of_folds) == 2 and tuned.after[0].hits.item() == 60


def test_false_alarms_are_limited_whatever_the_sizes():
    """Ten minutes; twenty alarms a minute are allowed for the class, not for each size.

    The limit also holds for a class without boxes.
    """
    rng, frames = np.random.default_rng(0), []
    for t in range(600):
        boxes = [square(10), square(24, 100), square(50, 200)]
        alarms = [square(10, 300), square(24, 400), square(50, 500), square(24, 600)]
        scores = np.concatenate([rng.uniform(0.3, 1, 3), rng.uniform(0, 0.9, 4)])
        one = frame(
            boxes, boxes + alarms, scores=scores, found_labels=[0] * 6 + [1], recording="ab"[t % 2]
        )
        frames.append(one._replace(t_us=t * 1_000_000, step_us=1_000_000))
    for by_size in (False, True):
        points, _, _ = choose_points(frames, CLASSES, Options(FalseAlarms(20), by_size=by_size))
        found = [points.apply(f) for f in frames]
        counts = class_counts(match(found, [0.5]), 2, np.zeros(1))
        assert counts[0].alarms.item() <= 200 and counts[1].alarms.item() <= 200
        assert counts[0].alarms.item() > 100  # the budget is used


def test_alarms_per_recording_and_threshold():
    """Two recordings with one and two windows of .05 minutes.

    A score equal to a threshold passes it.
    """
    one = frame(
        [square(20)],
        [square(20), square(9, 50), square(9, 80)],
        [0.9, 0.5, 0.3],
        found_labels=[0, 0, 1],
    )
    frames = [
        f._replace(step_us=3_000_000)
        for f in (one, one._replace(t_us=1), one._replace(recording="b"))
    ]
    stream = Stream.of(frames, match(frames, [0.5]), 2, np.array([0.2, 0.4, 0.5, 0.6]))
    assert stream.minutes == pytest.approx([0.05, 0.1]) and stream.empty_frames == 0
    assert stream.alarms.tolist() == [[[1, 1, 1, 0], [1, 0, 0, 0]], [[2, 2, 2, 0], [2, 0, 0, 0]]]


def test_bursts_widen_the_limit():
    """Two recordings of a minute each; the classes have 8 and 0, and 4 and 4 alarms in them.

    The variances are 2 * 32 and 0, the means 8 and 8, so a burst has 64 / 16 alarms.
    """
    alarms = np.array([[[8, 0], [4, 0]], [[0, 0], [4, 0]]])
    stream = Stream(np.ones(2), alarms, 0)
    assert stream.burst(4) == pytest.approx(4)
    assert Stream(np.ones(2), alarms[:, 1:], 0).burst(4) == 1
    of_each = 1 - 0.05 / 2  # two classes
    two_bursts = stream.most_per_min(np.array([8]), 4).item() / 4 * 2
    assert (
        stats.nbinom.cdf(np.floor(two_bursts), 3, 0.5)
        <= of_each
        <= stats.nbinom.cdf(np.ceil(two_bursts), 3, 0.5)
    )
    assert stream.most_per_min(np.array([0]), 0).item() == pytest.approx(
        (np.log2(1 / 0.025) - 1) / 2
    )  # no bursts


def test_what_a_short_stream_cannot_promise():
    frames = street("a", 0.6, 0.4) + street("b", 0.6, 0.4)
    _, _, notes = choose_points(frames, CLASSES, Options(FalseAlarms(5)))
    assert notes[0] == (
        "0.05 minutes of stream are too short to guarantee at most 5 false alarms of a class per "
        "minute of stream: even with no false alarm seen, up to 86.4 a minute are possible; "
        "evaluate more recordings"
    )
    assert "every evaluated frame holds a box" in notes[1]
    assert notes[-1].startswith("pedestrian: no threshold reaches the goal, at most 5")
    points, _, notes = choose_points([*frames, frame([], [])], CLASSES, Options(FalseAlarms(100)))
    assert (
        points.score_thr[0, 0] == pytest.approx(0.6) and [n for n in notes if "car" not in n] == []
    )


def test_names_cannot_become_code(tmp_path):
    """Names come from the file of predictions; the file of operating points is Python."""
    name = 'car": __import__("os").abort() or 0.3, "x'
    points = OperatingPoints((name,), np.array([[0.5]]), np.ones(1))
    namespace: dict = {}
    exec(points_as_config(points, [f"Made of {name}\nimport os; os.abort()"]), namespace)
    assert namespace["operating_points"] == dict(score_thr={name: 0.5})
