"""Preprocessing takes labels in all formats beside the recordings."""

from __future__ import annotations

import json
import runpy

import numpy as np
import pytest

from etram_mmdet.datasets.raw_event_dataset import RawEventDataset
from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.events.label_formats import LABEL_FORMATS
from etram_mmdet.events.label_formats.clock import write_frame_times
from etram_mmdet.events.label_formats.convert import write_labels
from etram_mmdet.events.label_formats.label_table import from_boxes, resized
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.sequence_folder import read_manifest
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import find_sources
from tests.helpers.paths import ROOT
from tests.helpers.raw import HEIGHT, WIDTH, make_boxes, make_events, write_events, write_recording

TIMES_US = np.array([100_000, 200_000, 300_000])
FILES = dict(coco="{}.json", cvat="{}.xml", csv="{}.csv", mot="{}.txt", yolo="{}")
ETRAM = PreprocessSettings(class_set="etram8")


def boxes_of(number: int) -> np.ndarray:
    """Three tracks in three frames; no two recordings have the same."""
    return make_boxes(
        np.repeat(TIMES_US, 2),
        x=np.tile([4, 30], 3) + number,
        w=np.linspace(8, 20, 6, dtype=int) + 0.25,
        class_id=np.tile([6, 1], 3),
        track_id=np.tile([3, 9], 3),
    )


def table_of(number: int):
    """The same with names instead of ids."""
    return from_boxes(boxes_of(number), ETRAM8, [], (WIDTH, HEIGHT))


def recordings(folder, names, with_arrays: bool = False):
    for number, name in enumerate(names):
        write_recording(folder, name, make_events(seed=number), boxes_of(number))
        if not with_arrays:
            (folder / f"{name}_bbox.npy").unlink()


def made(root, settings=ETRAM, **options):
    """Labels by recording, and the summary."""
    summary = preprocess_folder(root, root.parent / "out", settings, **options)
    labels = {
        m["recording"]: root.parent / "out" / m["split"] / m["recording"] for m in summary.manifests
    }
    return {
        name: np.load(path / "labels_v2" / "labels.npz")["labels"] for name, path in labels.items()
    }, summary


@pytest.mark.parametrize("name", FILES)
def test_each_format_gives_what_an_array_gives(name, tmp_path):
    folder = tmp_path / "raw" / "train"
    recordings(folder, ["a", "b_0001"])
    for number, recording in enumerate(["a", "b_0001"]):
        write_labels(table_of(number), folder / FILES[name].format(recording), LABEL_FORMATS[name])
    found, summary = made(tmp_path / "raw")
    assert not summary.problems and sorted(found) == ["a", "b_0001"]
    assert f"labels of 2 recordings: {LABEL_FORMATS[name].title}; " in str(summary)
    for number, boxes in enumerate(found.values()):
        expected = boxes_of(number)
        for column in ("t", "class_id", "track_id"):
            assert np.array_equal(boxes[column], expected[column])
        for side in "xywh":
            np.testing.assert_allclose(boxes[side], expected[side], atol=1e-3)
    assert read_manifest(tmp_path / "out" / "train" / "a")["class_names"]["6"] == "tram"


def test_the_size_of_labelled_frames_beats_an_assumed_one(tmp_path):
    """The smallest known sensor that the events fit into is too small for the boxes."""
    folder = tmp_path / "raw" / "train"
    write_recording(folder, "a", make_events(), boxes_of(0), with_size=False)
    (folder / "a_bbox.npy").unlink()
    write_labels(table_of(0), folder / "a.json", LABEL_FORMATS["coco"])
    found, summary = made(tmp_path / "raw")
    manifest = read_manifest(tmp_path / "out" / "train" / "a")
    assert not summary.problems and (manifest["width"], manifest["height"]) == (WIDTH, HEIGHT)
    assert "sensor size taken from the labelled frames" in str(summary)
    np.testing.assert_allclose(found["a"]["x"], boxes_of(0)["x"], atol=1e-3)


def test_recordings_are_read_without_preprocessing_too(tmp_path):
    recordings(tmp_path / "train", ["a"])
    write_labels(table_of(0), tmp_path / "train" / "a.json", LABEL_FORMATS["coco"])
    dataset = RawEventDataset(
        str(tmp_path), "train", clip_length=3, class_set=dict(classes=("tram", "car"))
    )
    assert np.bincount(dataset.box_statistics().labels).tolist() == [3, 3]


def coco_of(tables: dict) -> dict:
    """One COCO file of several recordings, named by paths; ids of categories count from 1."""
    images, annotations = [], []
    for name, table in tables.items():
        for frame, stamp in enumerate(table.stamps):
            images.append(
                dict(id=len(images) + 1, file_name=f"{name}/frame_{frame:06d}.png", t_us=int(stamp))
            )
            for row in table.rows[table.rows["stamp"] == stamp]:
                box = dict(
                    id=len(annotations) + 1, image_id=len(images), category_id=int(row["name"]) + 1
                )
                annotations.append(box | dict(bbox=[float(row[side]) for side in "xywh"]))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(ETRAM8)]
    return dict(images=images, annotations=annotations, categories=categories)


class TestOneFileForSeveral:
    @pytest.mark.parametrize("place", ["train/labels.json", "annotations.json"])
    def test_images_name_the_recordings(self, place, tmp_path):
        recordings(tmp_path / "raw" / "train", ["a", "b_0001"])
        content = coco_of({"a": table_of(0), "b_0001": table_of(1)})
        (tmp_path / "raw" / place).write_text(json.dumps(content))
        found, summary = made(tmp_path / "raw")
        assert not summary.problems
        assert found["a"]["x"].tolist() == boxes_of(0)["x"].tolist()
        assert found["b_0001"]["x"].tolist() == boxes_of(1)["x"].tolist()

    def test_lines_of_a_csv_file_name_them(self, tmp_path):
        recordings(tmp_path / "raw" / "train", ["a", "b_0001"])
        lines = ["recording,t_us,x,y,w,h,class"]
        for number, name in enumerate(["a", "b_0001"]):
            lines += [
                f"{name},{b['t']},{b['x']},{b['y']},{b['w']},{b['h']},Tram"
                for b in boxes_of(number)
            ]
        (tmp_path / "raw" / "train" / "all.csv").write_text("\n".join(lines))
        found, summary = made(tmp_path / "raw")
        assert not summary.problems and found["b_0001"]["x"].tolist() == boxes_of(1)["x"].tolist()
        assert set(found["a"]["class_id"]) == {6}

    def test_maps_beside_the_recordings_give_frames_their_times(self, tmp_path):
        recordings(tmp_path / "raw" / "train", ["a", "b"])
        lines = [
            f"{name}/frame_{frame}.png,{frame},4,4,9,9,tram" for name in "ab" for frame in (1, 2)
        ]
        (tmp_path / "raw" / "all.csv").write_text("\n".join(["image,frame,x,y,w,h,class", *lines]))
        for name, start_us in (("a", 0), ("b", 50_000)):
            times_us = start_us + 100_000 * np.arange(3)
            write_frame_times(
                tmp_path / f"raw/train/{name}_frames.csv", np.column_stack([range(3), times_us])
            )
        found, summary = made(tmp_path / "raw")
        assert not summary.problems
        assert {name: boxes["t"].tolist() for name, boxes in found.items()} == {
            "a": [100_000, 200_000],
            "b": [150_000, 250_000],
        }

    def test_what_names_no_recording_is_told(self, tmp_path):
        recordings(tmp_path / "raw" / "train", ["a", "b"])
        content = coco_of({"a": table_of(0), "c": table_of(1)})
        (tmp_path / "raw" / "train" / "labels.json").write_text(json.dumps(content))
        found, summary = made(tmp_path / "raw")
        assert list(found) == ["a"]
        told = "\n".join(summary.problems)
        assert (
            "3 of 6 images or lines belong to no recording of this folder, the first is "
            "'c/frame_000000.png'" in told
        )
        assert (
            "b_td.h5: no labels b_bbox.npy beside it; put b_bbox.npy, b with .json, .xml, .csv"
            in told
        )

    def test_a_name_that_two_recordings_fit_is_refused(self, tmp_path):
        recordings(tmp_path / "train", ["a", "a_0001"])
        (tmp_path / "train" / "all.csv").write_text(
            "image,frame,x,y,w,h,class\na_0001.png,1,1,1,9,9,car\n"
        )
        (problem, *_) = find_sources_problems(tmp_path)
        assert "all.csv: 'a_0001.png' may belong to the recordings a_0001 and a" in problem


def find_sources_problems(root) -> list[str]:
    write_recording(root / "val", "good")
    return find_sources(root)[1]


class TestWhichFile:
    def test_an_array_goes_before_other_formats_and_two_others_are_refused(self, tmp_path):
        recordings(tmp_path / "train", ["a", "b"], with_arrays=True)
        (tmp_path / "train" / "b_bbox.npy").unlink()
        for name in ("a.json", "b.json", "b.xml", "notes.txt", "b_frames.csv"):
            (tmp_path / "train" / name).write_text("")
        (tmp_path / "train" / "b").mkdir()  # holds no labels
        sources, problems = find_sources(tmp_path)
        assert [source.labels.name for source in sources] == ["a_bbox.npy"]
        (problem,) = problems
        assert problem.endswith(
            "b.xml: 2 files belong to recording b, expected one; keep one of them"
        )

    def test_a_changed_label_file_map_or_folder_is_noticed(self, tmp_path):
        folder = tmp_path / "raw" / "train"
        recordings(folder, ["a"])
        write_labels(table_of(0), folder / "a", LABEL_FORMATS["yolo"])
        assert (
            made(tmp_path / "raw")[1].outcomes[0].is_new
            and not made(tmp_path / "raw")[1].outcomes[0].is_new
        )
        line = folder / "a" / "frame_000000000.txt"
        line.write_text(line.read_text().replace("1 0", "3 0", 1))
        assert made(tmp_path / "raw")[1].outcomes[0].changed == ("a",)
        (folder / "a" / "classes.txt").rename(folder / "a" / "obj.names")
        assert made(tmp_path / "raw")[1].outcomes[0].changed == ("a",)
        (folder / "a" / "obj.names").write_text("\n".join(["person", *ETRAM8[1:]]))
        assert made(tmp_path / "raw")[1].outcomes[0].changed == ("a",)
        (folder / "a" / "picture.png").touch()
        assert not made(tmp_path / "raw")[1].outcomes[0].changed
        write_frame_times(folder / "a_frames.csv", np.column_stack([range(3), TIMES_US + 1000]))
        found, summary = made(tmp_path / "raw")
        assert summary.outcomes[0].changed == ("a_frames.csv",) and set(found["a"]["t"]) == {
            *(TIMES_US + 1000)
        }


class TestClock:
    def folder(
        self,
        tmp_path,
        text="frame,x,y,w,h,class\n1,4,4,10,10,tram\n2,4,4,10,10,tram\n3,4,4,10,10,tram\n",
    ):
        write_events(tmp_path / "raw" / "train" / "a_td.h5", make_events())
        (tmp_path / "raw" / "train" / "a.csv").write_text(text)
        return tmp_path / "raw"

    def test_frames_without_times_are_told_and_take_a_rate(self, tmp_path):
        (problem,) = made(self.folder(tmp_path))[1].problems
        assert "a.csv: its times are frame numbers; put a_frames.csv beside it" in problem
        found, summary = made(
            tmp_path / "raw", PreprocessSettings(class_set="etram8", label_fps=10.0)
        )
        assert found["a"]["t"].tolist() == TIMES_US.tolist()
        assert "taken as frames; frames: 10 a second, the first at 0" in str(summary)

    def test_offset_unit_and_box_format_apply(self, tmp_path):
        text = "time,x,y,w,h,class\n50,14,14,10,10,tram\n52,14,14,10,10,tram\n"  # could be seconds
        options = dict(label_time_unit="ms", label_offset_us=50_000, box_format="cxcywh")
        found, _ = made(
            self.folder(tmp_path, text), PreprocessSettings(class_set="etram8", **options)
        )
        assert found["a"][["t", "x"]].tolist() == [(100_000, 9), (102_000, 9)]

    @pytest.mark.parametrize(
        "column, times", [("time", (0.1, 0.2)), ("t_ms", (100, 200)), ("ts", (1e5, 2e5))]
    )
    def test_the_unit_is_stated_or_found_and_reported(self, column, times, tmp_path):
        lines = "".join(f"{time},14,14,10,10,tram\n" for time in times)
        found, summary = made(self.folder(tmp_path, f"{column},x,y,w,h,class\n{lines}"))
        assert found["a"]["t"].tolist() == [100_000, 200_000]
        unit = dict(time="s", t_ms="ms", ts="us")[column]
        assert (
            "labels of 1 recordings: CSV with column names; "
            f"times: column {column!r}, taken as {unit}" in str(summary)
        )

    def test_boxes_are_added_between_key_frames(self, tmp_path):
        text = "frame,x,y,w,h,class,track_id\n1,4,4,10,10,tram,7\n3,24,4,10,10,tram,7\n"
        options = dict(label_fps=10.0, interpolate_labels=True)
        found, summary = made(
            self.folder(tmp_path, text), PreprocessSettings(class_set="etram8", **options)
        )
        assert found["a"][["t", "x"]].tolist() == [(100_000, 4), (200_000, 14), (300_000, 24)]
        assert "1 boxes added between the key frames" in str(summary)

    @pytest.mark.parametrize("rate", [0, -1.0, float("nan")])
    def test_an_impossible_rate_is_refused(self, rate):
        with pytest.raises(ValueError, match="label_fps must be a number of frames a second"):
            PreprocessSettings(label_fps=rate)


def test_the_tool_takes_the_options_of_other_formats(monkeypatch):
    options = "--label-fps 12.5 --resize-labels --interpolate-labels --label-time-unit s"
    monkeypatch.setattr("sys.argv", f"tools/preprocess.py IN OUT {options}".split())
    tool = runpy.run_path(str(ROOT / "tools" / "preprocess.py"))
    settings = tool["settings_of"](tool["parse_args"]())
    assert (settings.label_fps, settings.resize_labels, settings.interpolate_labels) == (
        12.5,
        True,
        True,
    )
    assert settings.label_time_unit == "s"


def test_another_frame_size_is_refused_and_scaled_on_demand(tmp_path):
    recordings(tmp_path / "raw" / "train", ["a"])
    table = resized(table_of(0), (2 * WIDTH, 4 * HEIGHT))
    write_labels(table, tmp_path / "raw" / "train" / "a.json", LABEL_FORMATS["coco"])
    (problem,) = made(tmp_path / "raw")[1].problems
    assert (
        "a.json: its labels are for frames of 128x192 px, but the sensor has 64x48; "
        "add --resize-labels" in problem
    )
    found, _ = made(tmp_path / "raw", PreprocessSettings(class_set="etram8", resize_labels=True))
    assert found["a"][["x", "h"]].tolist() == boxes_of(0)[["x", "h"]].tolist()


def test_names_without_a_class_set_and_unknown_names_are_told(tmp_path):
    recordings(tmp_path / "raw" / "train", ["a"])
    write_labels(table_of(0), tmp_path / "raw" / "train" / "a.json", LABEL_FORMATS["coco"])
    (problem,) = made(tmp_path / "raw", None)[1].problems
    assert "a.json: holds class names" in problem and "--class-set" in problem
    cars = PreprocessSettings(class_set=dict(classes=("car",)), drop_unknown_classes=True)
    found, summary = made(tmp_path / "raw", cars)
    assert (
        found["a"]["class_id"].tolist() == [0, 0, 0]
        and summary.dropped["boxes_unknown_class:tram"] == 3
    )


def test_an_empty_label_file_says_how_a_recording_of_background_is_told(tmp_path):
    write_recording(tmp_path / "raw" / "train", "a", boxes=make_boxes([]))
    (problem,) = made(tmp_path / "raw")[1].problems
    assert (
        "a_bbox.npy: holds no boxes" in problem
        and "a_label_times.npy; the recording then serves as background" in problem
    )
