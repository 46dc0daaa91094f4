"""Tests that the picture of a data set is drawn, also if numbers are missing."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from etram_mmdet.analysis.dataset.figure import draw_census
from etram_mmdet.analysis.dataset.report import format_census, format_thresholds
from etram_mmdet.analysis.dataset.thresholds import all_thresholds
from etram_mmdet.utils.files import atomic_write
from tests.helpers.made_up import boxes, census, recording

KNOWN = dict(duration_s=2.0, num_events=3_000_000, dropped={"events_out_of_frame": 7})
NO_BOXES = boxes((0, 1, 1)).of_class(1)


def draw(tmp_path, made) -> np.ndarray:
    thresholds = all_thresholds(made) if len(made.boxes("train").labels) else []
    draw_census(made, thresholds, tmp_path / "new" / "data.png")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["data.png"]
    return (imread(tmp_path / "new" / "data.png")[..., :3] * 255).round().astype(np.uint8)


def colours_in(image: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, np.unique(image.reshape(-1, 3), axis=0).tolist()))


def test_classes_have_their_colours(tmp_path):
    made = census(recording("train", **KNOWN), recording("val", "val_night_1", **KNOWN))
    image = draw(tmp_path, made)
    assert image.shape[1] > 1400
    bars = image[: image.shape[0] // 2, : image.shape[1] // 2]
    assert set(made.palette) <= colours_in(bars)
    only = draw(tmp_path, census(recording("train", of=boxes((0, 20, 40)))))
    assert made.palette[0] in colours_in(only) and not set(made.palette[1:]) & colours_in(only)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "made",
    [
        census(recording("val", of=boxes((0, 20, 40)))),
        census(recording("train", of=NO_BOXES), recording("val", "b", **KNOWN)),
        census(recording("train", of=NO_BOXES)),
    ],
    ids=["one box and no training", "unknown events and no training box", "no box"],
)
def test_little_is_enough(tmp_path, made):
    assert draw(tmp_path, made).std() > 1
    assert "nan" not in format_census(made)


def test_tables_say_what_is_unknown():
    made = census(
        recording("train", **KNOWN),
        recording("val", of=boxes((0, 20, 40), (0, 22, 40), (0, 24, 40))),
    )
    lines = format_census(made).splitlines()
    train, val = lines[2].split(), lines[3].split()
    assert train == "train 1 1 0 2.0 3,000,000 1,500,000 7 3 10.00 160 0.0 %".split()
    assert val == "val 1 1 0 - - - - 3 10.00 3 -".split()
    (cars,) = (line.split() for line in lines if line.startswith("car"))
    assert cars[:6] == ["car", "20", "0", "30", "30", "30"] and cars[-1] == "1200"
    (mix,) = (line for line in lines if line.startswith("val") and "%" in line)
    assert mix.split()[1] == "100.0"
    assert "fixed            1024.0           9216.0         2.00" in format_thresholds(
        all_thresholds(made)
    )


def test_nothing_half_written(tmp_path):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a.json") as aside:
        aside.write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and (
        tmp_path / "a.json"
    ).read_text() == "old"
