"""Titles and labels of figures name what is drawn, and dots at an edge are drawn whole."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from matplotlib.figure import Figure

from etram_mmdet.evaluation.operating_points.goals import FBeta
from etram_mmdet.evaluation.operating_points.tuning import Options, tune
from etram_mmdet.visualization.figures import training, tuning
from tests.test_evaluation.test_breakdown import square
from tests.test_evaluation.test_matching import frame


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are drawn; they are not saved."""
    figures = []

    @contextmanager
    def page(path, width_in, height_in):
        figures.append(Figure(figsize=(width_in, height_in)))
        yield figures[-1]

    for module in (training, tuning):
        monkeypatch.setattr(module, "page", page)
    return figures


@pytest.mark.parametrize("rows, has_band", [(1, False), (2, True)])
def test_a_band_is_named_where_it_is_drawn(drawn, tmp_path, rows, has_band):
    row = {"coco/AP": 0.3, "coco/AP_low": 0.2, "coco/AP_high": 0.4}
    training.draw_training(
        {}, [{"step": k, **row} for k in range(rows)], "coco", "heading", tmp_path / "results.png"
    )
    ax = drawn[0].axes[1]
    assert bool(ax.collections) == has_band and ("band" in ax.get_xlabel()) == has_band


@pytest.mark.parametrize("names, unseen", [("ab", "recordings"), ("a", "blocks of time")])
def test_thresholds_say_what_was_unseen(drawn, tmp_path, names, unseen):
    frames = [
        frame([square(20)], [square(20)], recording=name)._replace(t_us=100_000 * k)
        for name in names
        for k in range(6)
    ]
    tuned = tune(frames, ("pedestrian",), Options(FBeta()), 0.3)
    tuning.draw_tuning(tuned, 0.3, "heading", tmp_path / "points.png")
    left, right = drawn[0].axes
    assert left.get_title("left") == f"F1 on unseen {unseen}"
    dots = [artist for ax in (left, right) for artist in (*ax.lines, *ax.collections)]
    assert len(dots) > 5 and not any(dot.get_clip_on() for dot in dots)
