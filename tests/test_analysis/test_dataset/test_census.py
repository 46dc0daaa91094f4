"""Tests that recordings and sequence folders give the numbers of their label files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.analysis.dataset.report import as_dict
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.errors import InputError
from tests.helpers.made_up import boxes, census, recording
from tests.helpers.raw import make_boxes, make_events, write_recording
from tests.reference.answers import DATA

# RVT's own sequence folders: labels in sensor pixels, frames halved, no sequence.json.
THEIRS = DATA / "preprocessed_etram"


def test_labels_that_the_reference_wrote():
    found = take_census(THEIRS)
    assert [(r.split, r.name, len(r.boxes.labels), len(r.label_us)) for r in found.recordings] == [
        ("train", "train_day_0001", 30, 10),
        ("train", "train_night_0002", 16, 5),
        ("val", "val_day_0001", 13, 4),
        ("test", "test_night_0001", 25, 7),
    ]
    first = found.recordings[0]
    # The first row: class 1, 114 x 67.5 sensor pixels.
    assert first.boxes.labels[0] == 1
    assert first.boxes.widths_px[0] == 57
    assert first.boxes.heights_px[0] == 33.75
    assert first.boxes.areas_px2[0] == 1923.75
    assert first.light == "day" and found.lights("train") == {"day": 1, "night": 1}
    counts = np.bincount(found.boxes("train").labels, minlength=8)
    assert counts.tolist() == [11, 14, 6, 6, 4, 2, 2, 1]
    # 15 of 46 areas are below 32², 34 below 96².
    assert found.boxes("train").size_mix() == pytest.approx([15 / 46, 19 / 46, 12 / 46])


def test_what_nobody_knows_is_none():
    found = as_dict(take_census(THEIRS), [], [])["splits"]["train"]
    unknown = (
        "duration_s",
        "events",
        "events_per_s",
        "events_out_of_frame",
        "frames_without_events",
        "dropped",
    )
    assert all(found[key] is None for key in unknown)


def test_config_decides_the_network_pixels():
    full = PreprocessSettings(representation=dict(type="StackedHistogram", downsample="none"))
    halved, whole = take_census(THEIRS).boxes(), take_census(THEIRS, settings=full).boxes()
    np.testing.assert_allclose(whole.widths_px, 2 * halved.widths_px)
    np.testing.assert_allclose(whole.areas_px2, 4 * halved.areas_px2)


def test_recordings_and_their_sequences_agree(raw_sample, sample):
    raw, preprocessed = (as_dict(take_census(root), [], []) for root in (raw_sample, sample))
    assert (
        raw["splits"] == preprocessed["splits"] and raw["recordings"] == preprocessed["recordings"]
    )
    train = raw["splits"]["train"]
    assert train["events"] > 0 and train["recordings"] == 3 and train["day"] == 2
    assert train["duration_s"] == pytest.approx(6.0, abs=0.1) and train[
        "labels_per_s"
    ] == pytest.approx(10, rel=0.01)
    quick = as_dict(take_census(raw_sample, read_events=False), [], [])["splits"]["train"]
    assert quick["per_class"] == train["per_class"] and quick["events"] is None


@pytest.fixture
def raw(tmp_path):
    """4000 events in 0.4 s on 64x48 pixels; five lie outside, none between 100 and 210 ms."""
    events = make_events()
    events["t"] = np.where((events["t"] >= 100_000) & (events["t"] < 210_000), 100_000, events["t"])
    events["x"][[5, 50, 500, 1500, 3500]] = 64
    labels = make_boxes(
        [100_000, 200_000, 300_000, 300_000], class_id=[0, 1, 1, 1], w=[20, 20, 20, 4]
    )
    write_recording(tmp_path / "train", "night_a", events, labels)
    return tmp_path


def test_recordings_are_read_through(raw, monkeypatch):
    # The last frame ends long before the last event.
    monkeypatch.setattr("etram_mmdet.events.formats.hdf5._EVENTS_PER_BLOCK", 250)
    found = take_census(raw)
    (only,) = found.recordings
    assert (only.num_events, only.events_out_of_frame, only.light, only.size_px) == (
        4000,
        5,
        "night",
        (64, 48),
    )
    t = make_events()["t"]
    assert only.duration_s == pytest.approx((t[-1] - t[0]) / 1e6)
    assert only.events_per_s == pytest.approx(4000 / only.duration_s)
    assert only.frames_without_events == 1  # the one from 150 to 200 ms
    assert only.boxes.widths_px.tolist() == [10, 10, 10] and only.boxes.heights_px.tolist() == [
        8,
        8,
        8,
    ]
    assert only.dropped["boxes_too_small"] == 1 and found.dropped_share("train") == 0.25
    assert found.labels_per_s("train") == pytest.approx(10)
    assert found.problems == [] and list(found.splits) == ["train"]


def test_class_ids_go_through_the_class_set(raw):
    found = take_census(raw, "etram3_from8")
    assert found.classes == ("pedestrian", "vehicle", "micro-mobility")
    assert found.boxes().labels.tolist() == [0, 1, 1]
    assert take_census(raw, metainfo=dict(classes=("walker", *"abcdefg"))).classes[0] == "walker"


def test_old_sequence_folder_is_a_problem_and_the_others_go_on(sample, tmp_path):
    copy = shutil.copytree(sample, tmp_path / "copy")
    manifest = next(copy.glob("train/*/sequence.json"))
    manifest.write_text(manifest.read_text().replace('"format_version": ', '"format_version": 1'))
    found = take_census(copy)
    assert len(found.of("train")) == 2 and "preprocess the recording again" in found.problems[0]


def test_unusable_folders_are_sentences(tmp_path):
    with pytest.raises(InputError, match="no such data folder"):
        take_census(tmp_path / "missing")
    with pytest.raises(InputError, match=r"no recordings NAME_td\.h5 .*; check the path"):
        take_census(tmp_path)
    (tmp_path / "a_td.h5").touch()
    with pytest.raises(
        InputError, match=r"recordings lie in .* itself: move them and their labels into"
    ):
        take_census(tmp_path)
    labels = "labels_v2"
    shutil.copytree(THEIRS / "val" / "val_day_0001" / labels, tmp_path / "val" / "a" / labels)
    with pytest.raises(
        InputError, match=r"(?s)no recording can be used.*holds no event_representations_v2"
    ):
        take_census(tmp_path)
    (tmp_path / "val" / "a" / labels / "labels.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"labels\.npz: .*run tools/preprocess.py again"):
        take_census(tmp_path, settings=PreprocessSettings())


def test_percentiles_by_hand():
    """The areas are 100, 200, 300, 400 and 500, so the quartiles are 200, 300 and 400."""
    made = census(recording("train", of=boxes(*((0, 10, 10 * k) for k in range(1, 6)))))
    split = as_dict(made, [], [])["splits"]["train"]
    area = split["per_class"]["pedestrian"]["percentiles"]["area_px2"]
    assert (area["p25"], area["p50"], area["p75"]) == (200, 300, 400)
    assert (area["p5"], area["p95"]) == pytest.approx(
        (120, 480)
    )  # 0.2 and 3.8 steps of 100 from the first
    assert split["per_class"]["car"] == {"boxes": 0, "percentiles": None}


@pytest.mark.parametrize(
    ("name", "light"),
    [("val_day_006", "day"), ("Night2", "night"), ("2024-NIGHT-1", "night"), ("monday_1", None)],
)
def test_light_in_the_name(name, light):
    assert recording("val", name).light == light
