"""Pictures of an evaluation and of a training: drawn for all kinds of data."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmengine.logging import HistoryBuffer

from etram_mmdet.engine.runner.histories import thin
from etram_mmdet.evaluation.results_table import append_row, compact, evaluations
from etram_mmdet.events.class_mapping import palette_of
from etram_mmdet.visualization import detection_film
from etram_mmdet.visualization.figures import evaluation as evaluation_page
from etram_mmdet.visualization.figures.evaluation import draw_evaluation
from etram_mmdet.visualization.figures.training import draw_training, smoothed
from tests.test_evaluation.test_breakdown import square
from tests.test_evaluation.test_matching import frame, frames_of

PALETTE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
CLASSES = ("pedestrian", "car", "bus", "tram")


def test_page_is_drawn_and_says_its_threshold(tmp_path):
    score_thr = draw_evaluation(
        frames_of(0), CLASSES, PALETTE, "heading", tmp_path / "new" / "page.png"
    )
    image = cv2.imread(str(tmp_path / "new" / "page.png"))
    assert image.shape == (1140, 1300, 3) and 0 < score_thr <= 1
    drawn = {tuple(c) for c in image.reshape(-1, 3)[:, ::-1].tolist()}
    assert (
        set(PALETTE[:3]) <= drawn and PALETTE[3] not in drawn
    )  # the class without boxes has no curve


@pytest.mark.parametrize(
    "frames",
    [
        [frame([square(20)], [])],
        [frame([square(20)], [square(20)]), frame([], [square(9)])],
        [frame([square(1500)], [square(1500)])],
    ],
    ids=["nothing found", "one class", "a giant"],
)
def test_page_of_little(frames, tmp_path):
    draw_evaluation(frames, CLASSES, PALETTE, "heading", tmp_path / "page.png")
    assert cv2.imread(str(tmp_path / "page.png")).shape == (1140, 1300, 3)


def test_page_of_a_class_agnostic_headline(tmp_path):
    draw_evaluation(
        [frame([square(20)], [square(20)])], ("any class",), PALETTE[:1], "x", tmp_path / "page.png"
    )
    assert evaluation_page.SIDE_EDGES_PX[0] == 2 and (tmp_path / "page.png").is_file()


def test_training_curves(tmp_path):
    """If a step was evaluated twice, the later row counts.

    Rows of other runs, data, splits and thresholds are left out.
    """
    table, usual = tmp_path / "results.csv", dict(score_thr=0.001, nms=dict(iou_threshold=0.45))
    record = dict(test_cfg=usual, run="a", val_data=dict(sha256="x"))
    ours = dict(split="val", run="a", data="x", test_cfg=compact(usual))
    for step, ap in ((4, 0.2), (2, 0.1), (4, 0.3)):
        append_row(table, {**ours, "step": step, "coco/AP": ap, "coco/AP50": ap})
    for other in (
        dict(split="test"),
        dict(run="b"),
        dict(data="y"),
        dict(test_cfg=compact(usual | dict(score_thr=0.5))),
    ):
        append_row(table, {**ours, **other, "step": 4, "coco/AP": 0.9})
    append_row(
        table, {"split": "val", "step": 6, "coco/AP": 0.4}
    )  # from before the columns were there
    rows = evaluations(table, "val", record)
    assert [(r["step"], r["coco/AP"]) for r in rows] == [("2", "0.1"), ("4", "0.3"), ("6", "0.4")]
    each = np.ones(1000)
    losses = dict(loss=(np.linspace(9, 1, 1000), each), loss_obj=(np.linspace(3, 1, 1000), each))
    draw_training(losses, rows, "coco", "heading", tmp_path / "results.png")
    assert cv2.imread(str(tmp_path / "results.png")).shape == (520, 1300, 3)
    draw_training({}, rows, "coco", "heading", tmp_path / "again.png")


def test_smoothing_keeps_the_mean_and_the_end():
    steps, means = smoothed(np.arange(10.0), np.ones(10))
    assert steps.tolist() == list(range(1, 11)) and means.tolist() == list(range(10))
    steps, means = smoothed(np.arange(6000.0), np.ones(6000))
    assert len(steps) == 300 and steps[-1] == 6000 and means.mean() == pytest.approx(5999 / 2)


def test_a_thinned_history_gives_the_same_curve():
    history = HistoryBuffer(np.arange(6000.0), np.ones(6000, int))
    found = dict(loss=history)
    thin(found)
    assert len(found["loss"].data[0]) < 2500
    steps, means = smoothed(*found["loss"].data)
    assert steps[-1] == 6000 and 250 <= len(steps) <= 300
    widths = np.diff(steps, prepend=0)
    assert np.allclose(
        means, steps - (widths + 1) / 2
    )  # the mean over each stretch of 0, 1, 2, ...


def test_film_has_a_head_and_a_legend():
    off_on = np.zeros((2, 20, 30), np.float32)
    images = list(
        detection_film.detection_film([(off_on, frame([square(9)], []))] * 2, CLASSES, PALETTE)
    )
    assert len(images) == 2 and images[0].shape[1] == 960 and images[0].shape[0] > 640 + 2 * 24
    without = next(
        detection_film.detection_film([(off_on, frame([], []))], CLASSES, PALETTE, with_truth=False)
    )
    assert without.shape == images[0].shape and not np.array_equal(without[-40:], images[0][-40:])


def test_of_many_classes_the_page_shows_those_that_occur(tmp_path):
    from matplotlib.figure import Figure

    matrix = np.zeros((31, 31), int)
    matrix[2, 7], matrix[30, 9] = 3, 2
    axes = Figure().subplots()
    evaluation_page._draw_confusions(axes, matrix, [f"kind {k}" for k in range(30)])
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "kind 2",
        "kind 7",
        "kind 9",
        "no box",
    ]
    assert axes.images[0].get_array().tolist() == [[0, 1, 0, 0], [0] * 4, [0] * 4, [0, 0, 1, 0]]
    frames = [frame([square(20)], [square(20)])]
    names = [f"kind {k}" for k in range(30)]
    draw_evaluation(frames, names, palette_of(30), "heading", tmp_path / "page.png")
    assert cv2.imread(str(tmp_path / "page.png")).shape == (1140, 1300, 3)
