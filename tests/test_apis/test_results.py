"""Detections as arrays, as a table, for supervision, as a picture, and as a summary."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from etram_mmdet.apis import EventInferencer, to_numpy, to_pandas, to_supervision
from etram_mmdet.apis.inference import Boxes, Window
from etram_mmdet.apis.results import Tally
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.utils.errors import InputError

CLASSES = ("pedestrian", "car", "tram")


def window(t_us: int, *found: tuple[int, float], seen: tuple[int, float] = (2, 0.05)) -> Window:
    """A window with boxes (label, score); ``seen`` is one more whose score is too low."""
    labels, scores = (np.array(column) for column in zip(*found, seen, strict=True))
    sides = np.arange(4 * len(labels), dtype=np.float32).reshape(-1, 4)
    sides[:, 2:] += 50
    everything = Boxes(sides, labels, scores.astype(np.float32), classes=CLASSES)
    told = everything[: len(found)]
    shown = replace(told, bboxes_xyxy=told.bboxes_xyxy * 2)
    return Window(t_us, np.zeros((20, 60, 80), np.uint8), shown, told, everything)


WINDOWS = [window(50_000, (1, 0.9), (0, 0.5)), window(100_000), window(150_000, (1, 0.75))]


def test_arrays():
    found = to_numpy(iter(WINDOWS))
    assert found["t_us"].tolist() == [50_000, 50_000, 150_000] and found["t_us"].dtype == np.int64
    assert found["bboxes_xyxy"].tolist()[1] == [8, 10, 112, 114] and found["bboxes_xyxy"].shape == (
        3,
        4,
    )
    assert found["scores"].tolist() == [np.float32(0.9), 0.5, 0.75]
    assert found["labels"].tolist() == [1, 0, 1] and found["names"].tolist() == [
        "car",
        "pedestrian",
        "car",
    ]
    one = to_numpy(WINDOWS[2])
    assert one["t_us"].tolist() == [150_000] and one["names"].tolist() == ["car"]
    nothing = to_numpy([])
    assert {
        key: value.shape
        for key, value in nothing.items()
        if value.size == 0 and key != "bboxes_xyxy"
    } == {
        "t_us": (0,),
        "scores": (0,),
        "labels": (0,),
        "names": (0,),
    }
    assert nothing["bboxes_xyxy"].shape == (0, 4) and to_numpy(WINDOWS[1])["bboxes_xyxy"].shape == (
        0,
        4,
    )


def test_a_table_and_supervision(monkeypatch):
    """Both packages are replaced by fakes, since neither is required."""
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    table = to_pandas(WINDOWS)
    assert list(table) == ["t_us", "x1", "y1", "x2", "y2", "score", "class"]
    assert [table[side][1] for side in ("x1", "y1", "x2", "y2")] == [8, 10, 112, 114]
    assert table["class"].tolist() == ["car", "pedestrian", "car"] and table["score"][1] == 0.5
    found = to_supervision(WINDOWS[0])
    assert (
        found.xyxy.shape == (2, 4)
        and found.confidence[1] == 0.5
        and found.class_id.tolist() == [1, 0]
    )
    assert {key: value.tolist() for key, value in found.data.items()} == dict(
        class_name=["car", "pedestrian"], t_us=[50_000, 50_000]
    )


@pytest.mark.parametrize("convert, name", [(to_pandas, "pandas"), (to_supervision, "supervision")])
def test_a_package_that_is_missing_is_named(convert, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"{name} cannot be imported .*; run pip install {name}"):
        convert(WINDOWS)


def test_pandas_and_supervision_themselves():
    pandas = pytest.importorskip("pandas")
    supervision = pytest.importorskip("supervision")
    table = to_pandas(WINDOWS)
    assert isinstance(table, pandas.DataFrame) and table["class"].value_counts()["car"] == 2
    assert len(to_pandas([])) == 0
    found = to_supervision(WINDOWS[0])
    assert isinstance(found, supervision.Detections) and found["class_name"].tolist() == [
        "car",
        "pedestrian",
    ]
    assert len(to_supervision(WINDOWS[1])) == 0


def test_boxes_are_drawn_on_the_events_of_their_window(trained, raw_sample):
    inferencer = EventInferencer(trained[0] / "iter_4.pth", device="cpu", score_thr=0.0)
    recording = next((raw_sample / "val").glob("val_day_0000*.h5"))
    shown = next(inferencer.windows(recording, 400_000))
    empty = shown._replace(boxes=shown.boxes[:0])
    events = inferencer.draw(empty)
    assert events.shape == (64, 96, 3) and events.dtype == np.uint8
    blocks = events.reshape(32, 2, 48, 2, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()  # a pixel of the network is two of the sensor
    lit = (blocks[:, 0, :, 0] != blocks[:, 0, :, 0].min((0, 1))).any(-1)
    np.testing.assert_array_equal(lit, shown.image.any(0))
    one = shown._replace(
        boxes=Boxes(np.float32([[20, 30, 60, 50]]), np.array([1]), np.float32([0.5]), classes=ETRAM)
    )
    large = inferencer.draw(one, scale=4)
    colour = inferencer.palette[1]
    assert large.shape == (256, 384, 3) and tuple(large[200, 160]) == tuple(
        large[160, 80]
    ) == tuple(colour)
    assert (large[140:180, 100:220] == events.repeat(4, 0).repeat(4, 1)[140:180, 100:220]).all()


ETRAM = ("pedestrian", "car", "bicycle", "bus", "motorbike", "truck", "tram", "wheelchair")


def said(points: OperatingPoints, windows: list[Window]) -> str:
    tally = Tally(points)
    assert list(tally.count(windows)) == windows
    return str(tally)


def test_what_was_found_in_a_sentence():
    common = OperatingPoints.common(CLASSES, 0.3)
    assert (
        said(common, WINDOWS)
        == "found 3 boxes in 3 windows with scores of at least 0.3: pedestrian 1, car 2, tram 0"
    )
    tuned = OperatingPoints(
        CLASSES, np.array([[0.5, 0.25], [0.7, 0.7], [0.125, 0.125]]), np.ones(3), (16.0,)
    )
    assert said(tuned, WINDOWS) == (
        "found 3 boxes in 3 windows: pedestrian 1 (scores of at least 0.25 to 0.5), "
        "car 2 (scores of at least 0.7), tram 0 (scores of at least 0.125)"
    )


def test_where_nothing_was_found_the_highest_score_is_told():
    points = OperatingPoints.common(CLASSES, 0.3)
    output = said(points, [window(50_000), window(100_000, seen=(1, 0.124)), window(150_000)])
    assert output.splitlines() == [
        "found 0 boxes in 3 windows with scores of at least 0.3: pedestrian 0, car 0, tram 0",
        "the highest score was 0.124 (car); to see boxes of lower scores, use --score-thr 0.06",
    ]
    blind = WINDOWS[1]._replace(seen=Boxes.empty())
    assert said(points, [blind]).splitlines()[1].startswith("the network predicted no box")
