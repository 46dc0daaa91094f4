"""Tests that a config for new recordings has the settings that follow from them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from mmengine.config import Config

from etram_mmdet.analysis.dataset.census import RecordingCensus
from etram_mmdet.analysis.dataset.config_text import config_text
from etram_mmdet.analysis.dataset.new_config import ConfigPlan
from etram_mmdet.analysis.dataset.strides import STRIDES
from etram_mmdet.analysis.dataset.suggested_classes import classes_in, suggest_class_set
from etram_mmdet.analysis.dataset.warnings import stride_warnings
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.models.building import build_detector
from etram_mmdet.utils.errors import InputError
from tests.helpers.made_up import boxes, census
from tests.helpers.paths import ROOT
from tests.helpers.raw import make_boxes, write_recording

OWN = dict(classes=("walker", "fork lift"), mapping={1: "walker", 2: "fork lift"}, leave_out=(7,))
LARGE = boxes((0, 40, 30), (1, 20, 20), times=50)
SMALL = boxes((0, 7, 9), (1, 20, 20), times=50)


def recording(split="train", of=LARGE, frames=300, size_px=(640, 480), **known) -> RecordingCensus:
    name = f"{split}_{size_px[0]}"
    return RecordingCensus(
        split, name, of, np.arange(1, frames + 1) * 100_000, size_px=size_px, **known
    )


def plan(*recordings) -> ConfigPlan:
    return ConfigPlan(census(*recordings), OWN, "data/my_raw", "data/my_raw_frames")


def _write(made: ConfigPlan, folder):
    path = folder / "own.py"
    path.write_text(config_text(made, str(ROOT / "configs")))
    assert len(path.read_text().splitlines()) <= 20
    return path


def written(made: ConfigPlan, folder):
    return load_config(_write(made, folder))


@pytest.mark.parametrize(
    ("found", "words", "expected"),
    [
        ({0: 5, 1: 5}, ["car", "bus"], dict(classes=("car", "bus"))),
        ({0: 5, 2: 5}, ["car", "bus", "van"], dict(classes=("car", "bus", "van"))),
        ({1: 5, 2: 5}, ["car", "bus"], dict(classes=("car", "bus"), mapping={1: "car", 2: "bus"})),
        (
            {1: 5, 2: 5, 7: 1},
            ["1=car", "2=car"],
            dict(classes=("car",), mapping={1: "car", 2: "car"}, leave_out=(7,)),
        ),
        (
            {0: 1, 4: 1},
            [],
            dict(classes=("class_0", "class_4"), mapping={0: "class_0", 4: "class_4"}),
        ),
        ({"Car": 5, "dog": 1}, ["car"], dict(classes=("car",), leave_out=("dog",))),
        (
            {"Car": 5, "lorry": 1},
            ["lorry=bus", "car"],
            dict(classes=("bus", "car"), mapping={"lorry": "bus"}),
        ),
        ({"walker": 5, "forklift": 1}, [], dict(classes=("walker", "forklift"))),
    ],
)
def test_class_sets(found, words, expected):
    suggested = suggest_class_set(Counter(found), words)
    assert suggested == expected
    class_set = get_class_set(suggested)
    assert all(class_set.knows(key) for key in found)


@pytest.mark.parametrize(
    ("found", "words", "sentence"),
    [
        (
            {1: 5, 2: 5, 7: 1},
            ["car", "bus"],
            "2 names (car, bus), but the label files hold the ids 1, 2, 7; write the",
        ),
        (
            {0: 5, 1: 5},
            ["car", "1=bus"],
            "--classes car: no label has this name; write its id too, such as 0=car",
        ),
    ],
)
def test_words_that_leave_an_id_open(found, words, sentence):
    with pytest.raises(InputError) as error:
        suggest_class_set(Counter(found), words)
    assert sentence in str(error.value)


def test_ids_are_counted_over_all_label_files(tmp_path):
    for split, ids in (("train", [1, 1, 3]), ("val", [3, 3, 3])):
        write_recording(
            tmp_path / split, "a", boxes=make_boxes([100_000, 200_000, 300_000], class_id=ids)
        )
    assert classes_in(find_sources(tmp_path)[0], PreprocessSettings()) == {1: 2, 3: 4}


def test_config_says_what_follows_from_the_recordings(tmp_path):
    made = plan(recording(), recording("val"))
    cfg = written(made, tmp_path)
    assert cfg.model.bbox_head.num_classes == 2 and cfg.data_root == "data/my_raw_frames/"
    assert get_class_set(cfg.class_set.to_dict()).class_of(2) == 1
    assert cfg.representation.downsample == "sum" and cfg.model.backbone.in_channels == 20
    assert tuple(cfg.model.backbone.partition_size) == (4, 5)  # frames of 240 x 320
    loss = cfg.model.bbox_head.loss_bbox
    # The small class has the larger boxes here, so the next rule is used, a percentile of all areas
    # (400 and 1200).
    assert (loss.type, loss.small_area, loss.medium_area) == ("SizeAwareIoULoss", 400.0, 1200.0)
    assert cfg.train_cfg.max_iters == 1000 == 300 * 20 / 6 and cfg.train_cfg.val_interval == 100
    assert cfg.test_dataloader.dataset.split == "val"
    assert (
        written(plan(recording(), recording("test")), tmp_path).test_dataloader.dataset.split
        == "test"
    )
    assert "sensor: 640x480 pixels, from the recordings, the labels or --sensor" in made.reasons()


def test_names_cannot_become_code(tmp_path):
    """Class names may come from a stranger's label files, and a config is executed."""
    names = ('"); import os; os.abort() #', "a\nb", "class", "pr\u00fcfer")
    own = dict(classes=names, mapping={"class": "class"}, leave_out=("lambda", '"'))
    made = ConfigPlan(census(recording()), own, "data/my\nraw", 'data/"raw')
    found = Config.fromfile(_write(made, tmp_path))
    assert found.class_set.classes == names and found.class_set.leave_out == own["leave_out"]
    assert found.data_root == 'data/"raw/'


def test_small_boxes_get_finer_strides(tmp_path):
    assert plan(recording()).strides == (8, 16, 32)
    made = plan(recording(of=SMALL))
    cfg = written(made, tmp_path)
    assert made.strides == tuple(build_detector(cfg).bbox_head.strides) == (2, 4, 8)
    assert cfg.train_dataloader.batch_size == 2 and cfg.train_cfg.max_iters == 3000
    assert "because 50 % of the boxes of train have a side under 8 px" in made.reasons()


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("small", [0, 4, 6, 20])
def test_strides_are_those_of_which_inspect_data_does_not_warn(split, small):
    """Also for boxes of a split other than train."""
    of = boxes(*[(0, 7, 9)] * small, *[(1, 20, 20)] * (50 - small))
    others = [] if split == "train" else [recording()]
    made = plan(recording(split, of=of), *others)
    assert not stride_warnings(made.census, made.strides)
    assert made.is_fine == bool(stride_warnings(made.census, STRIDES)) == (small > 5)


def test_frames_that_the_frame_rule_leaves_out_are_told():
    """There is one box in each frame that is left out, and two in one of them."""
    dropped = dict(label_frames_not_used=600, boxes_in_unused_frames=601)
    made = plan(recording(dropped=dropped), recording("val", frames=100, dropped={}))
    assert (
        "labels: RVT's frame rule takes 10 frames a second, so 600 of the 1,000 labelled frames of "
        "all splits, with 601 boxes, are left out; tools/preprocess.py --frames all keeps them"
    ) in made.reasons()
    assert "frame rule" not in plan(recording()).reasons()


@pytest.mark.parametrize(
    ("frames", "base", "steps"),
    [(10, "tiny", 1000), (4_999, "tiny", 17_000), (5_000, "small", 17_000), (50_000, "", 100_000)],
)
def test_model_and_schedule_fit_the_number_of_frames(frames, base, steps):
    made = plan(recording(frames=frames))
    assert made.base == f"baseline_{base}.py".replace("_.", ".") and made.steps == steps


def test_what_cannot_be_planned():
    with pytest.raises(
        InputError, match=r"different sizes: 640x480 \(train/train_640\), 346x260 \(val/val_346\)"
    ):
        plan(recording(), recording("val", size_px=(346, 260)))
    with pytest.raises(InputError, match="no training boxes"):
        plan(recording("val"))
