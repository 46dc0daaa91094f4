"""tools/export_frames.py and tools/convert_labels.py: from events to a labelling tool and back."""

from __future__ import annotations

import runpy

import cv2
import numpy as np
import pytest

from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.label_formats.clock import read_frame_times, write_frame_times
from etram_mmdet.events.labels import load_boxes
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.visualization.event_frames import counts_of
from tests.helpers.cli import run
from tests.helpers.encoders import write_m3ed
from tests.helpers.paths import ROOT
from tests.helpers.raw import make_events

ETRAM8 = "pedestrian car bicycle bus motorbike truck tram wheelchair".split()


@pytest.fixture(scope="module")
def recording(raw_sample):
    return next((raw_sample / "val").glob("val_day_0000*.h5"))


@pytest.fixture(scope="module")
def labels(recording):
    return recording.with_name("val_day_0000_bbox.npy")


@pytest.fixture
def refusal(monkeypatch, capsys):
    """What a tool, run in this process, says before it exits with status 1."""

    def refuse(*words):
        monkeypatch.setattr("sys.argv", list(map(str, words)))
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        assert end.value.code == 1
        return capsys.readouterr().err

    return refuse


def cvat_of(boxes, frame_of):
    """What somebody exports from CVAT who drew ``boxes`` on frames with these numbers."""
    names = "".join(f"<label><name>{name}</name></label>" for name in ETRAM8)
    tracks = "".join(
        f'<track id="{i}" label="{ETRAM8[box["class_id"]]}">'
        f'<box frame="{frame_of[int(box["t"])]}" outside="0" xtl="{box["x"]}" ytl="{box["y"]}" '
        f'xbr="{box["x"] + box["w"]}" ybr="{box["y"] + box["h"]}"/></track>'
        for i, box in enumerate(boxes)
    )
    size = "<original_size><width>96</width><height>64</height></original_size>"
    meta = f"<meta><task><labels>{names}</labels>{size}</task></meta>"
    return f"<annotations>{meta}{tracks}</annotations>"


def test_what_is_drawn_on_frames_lands_on_the_windows_that_were_shown(recording, labels, tmp_path):
    """The example of docs/labels.md."""
    run("tools/export_frames.py", recording, tmp_path / "film.mp4", "--labels", labels)
    boxes = load_boxes(labels)
    frame_of = {
        time: frame for frame, time in read_frame_times(tmp_path / "film_frames.csv").tolist()
    }
    assert sorted(frame_of.values()) == list(range(len(np.unique(boxes["t"]))))
    (tmp_path / "export.xml").write_text(cvat_of(boxes, frame_of))
    words = ["--frame-times", tmp_path / "film_frames.csv", "--recording", recording]
    words += ["--class-set", "etram8"]
    told = run("tools/convert_labels.py", tmp_path / "export.xml", tmp_path / "a_bbox.npy", *words)
    assert f"{len(boxes)} boxes in {len(frame_of)} labelled frames" in told
    back = load_boxes(tmp_path / "a_bbox.npy")
    order, order_back = (np.lexsort([b["y"], b["x"], b["t"]]) for b in (boxes, back))
    for name in ("t", "class_id"):
        assert np.array_equal(boxes[name][order], back[name][order_back])
    for name in "xywh":
        np.testing.assert_allclose(boxes[name][order], back[name][order_back], atol=0.01)


def test_an_export_beside_the_recording_is_preprocessed_as_it_is(recording, labels, tmp_path):
    """Converted labels give the same frames, boxes and classes (docs/labels.md)."""
    boxes = load_boxes(labels)
    times_us = np.unique(boxes["t"])
    for source in ("array", "export"):
        folder = tmp_path / source / "val"
        folder.mkdir(parents=True)
        (folder / recording.name).symlink_to(recording)
    (tmp_path / "array" / "val" / labels.name).symlink_to(labels)
    frame_of = {int(time): frame for frame, time in enumerate(times_us)}
    (folder / "val_day_0000.xml").write_text(cvat_of(boxes, frame_of))
    write_frame_times(
        folder / "val_day_0000_frames.csv", np.column_stack([range(len(times_us)), times_us])
    )
    settings = PreprocessSettings(class_set="etram8")
    for source in ("array", "export"):
        assert not preprocess_folder(
            tmp_path / source, tmp_path / f"{source}_out", settings
        ).problems
    made = [tmp_path / f"{source}_out" / "val" / "val_day_0000" for source in ("array", "export")]
    rows = [np.load(folder / "labels_v2" / "labels.npz")["labels"] for folder in made]
    first, second = (r[np.lexsort([r["y"], r["x"], r["t"]])] for r in rows)
    assert len(first) > 20 and np.array_equal(first["class_id"], second["class_id"])
    for name in ("t", *"xywh"):
        np.testing.assert_allclose(first[name], second[name], atol=0.01)
    images = [np.load(next(folder.rglob("objframe_idx_2_repr_idx.npy"))) for folder in made]
    assert np.array_equal(*images)


def test_frames_at_times_of_a_map_and_key_frames_that_become_boxes_in_each(recording, tmp_path):
    """CVAT has key frames on three of many frames; their times are found next to the file."""
    write_frame_times(
        tmp_path / "times.csv", np.column_stack([range(9), 100_000 + 20_000 * np.arange(9)])
    )
    run(
        "tools/export_frames.py",
        recording,
        tmp_path / "a.mp4",
        "--frame-times",
        tmp_path / "times.csv",
    )
    assert read_frame_times(tmp_path / "a_frames.csv")[:, 1].tolist() == [
        100_000 + 20_000 * i for i in range(9)
    ]
    boxes = "".join(
        f'<box frame="{frame}" outside="0" xtl="{frame}" ytl="5" xbr="{frame + 10}" ybr="15"/>'
        for frame in (0, 2, 8)
    )
    (tmp_path / "a.xml").write_text(
        f'<annotations><track id="4" label="car">{boxes}</track></annotations>'
    )
    told = run(
        "tools/convert_labels.py", tmp_path / "a.xml", tmp_path / "a_bbox.npy", "--interpolate"
    )
    assert "a_frames.csv" in told and "6 boxes added between the key frames" in told
    found = load_boxes(tmp_path / "a_bbox.npy")
    assert found["t"].tolist() == [100_000 + 20_000 * i for i in range(9)] and found[
        "x"
    ].tolist() == [*range(9)]


def test_a_picture_shows_the_events_before_its_time(recording, tmp_path):
    run(
        "tools/export_frames.py",
        recording,
        tmp_path / "out",
        "--fps",
        10,
        "--window-ms",
        20,
        "--stop-s",
        0.5,
    )
    frames = read_frame_times(tmp_path / "out" / "frames.csv")
    assert np.diff(frames[:, 1]).tolist() == [100_000] * (len(frames) - 1) and len(frames) >= 4
    assert len(list((tmp_path / "out").glob("*.png"))) == len(frames)
    with open_recording(recording) as file:
        events = file.read(int(frames[2, 1]) - 20_000, int(frames[2, 1]))
        has_events = counts_of(events, file.width, file.height).any(0)
    picture = cv2.imread(str(tmp_path / "out" / "frame_000002.png"))
    assert has_events.any() and np.array_equal(
        (picture != picture[~has_events][0]).any(-1), has_events
    )


@pytest.mark.parametrize(
    "options, told",
    [
        (["--offset-us", 10**9], "labelled times lie outside the recording"),
        (
            ["--frame-size", 640, 480],
            "its labels are for frames of 640x480 px, but the sensor has 96x64; add --resize",
        ),
        (["--rename", "lorry=truck", "--class-set", "etram8"], "no class 'lorry'"),
        (["--class-set", "etram9"], "unknown class_set 'etram9'"),
        (["--time-unit", "frames"], "need the times of the frames: give either --fps N"),
        (["--to", "yolo"], "add --frame-size WIDTH HEIGHT"),
    ],
)
def test_what_does_not_fit_is_a_sentence(options, told, recording, labels, tmp_path, refusal):
    words = [] if "--to" in options else ["--recording", recording]
    output = refusal("tools/convert_labels.py", labels, tmp_path / "a.json", *words, *options)
    assert told in output and not (tmp_path / "a.json").exists()


def test_an_impossible_rate_is_a_sentence(recording, tmp_path, refusal):
    output = refusal("tools/export_frames.py", recording, tmp_path / "a.mp4", "--fps", 0.001)
    assert "would make 0 frames, expected 1 to 1,000,000" in output


def test_another_frame_size_is_scaled_on_demand(recording, labels, tmp_path):
    words = ["--frame-size", 192, 64, "--recording", recording, "--resize"]
    run("tools/convert_labels.py", labels, tmp_path / "a_bbox.npy", *words)
    assert np.allclose(load_boxes(tmp_path / "a_bbox.npy")["x"], load_boxes(labels)["x"] / 2)


def test_a_recording_is_cut_and_converted(recording, tmp_path):
    words = [
        recording,
        tmp_path / "cut.npz",
        "--start-s",
        0.1,
        "--stop-s",
        0.3,
        "--crop",
        0,
        0,
        50,
        40,
    ]
    told = run("tools/convert_recording.py", *words)
    with open_recording(recording) as file, open_recording(tmp_path / "cut.npz") as cut:
        events = file.read(100_000, 300_000)
        expected = int(((events.x < 50) & (events.y < 40)).sum())
        assert cut.num_events == expected > 10
        assert (
            f"cut.npz: {expected:,} of {file.num_events:,} events, 100000 to 300000 us, "
            "50x40 pixels" in told
        )


def test_another_layout_is_converted_and_what_is_not_used_is_told(tmp_path):
    events = make_events()
    told = run(
        "tools/convert_recording.py", write_m3ed(tmp_path / "a.h5", events), tmp_path / "b.npz"
    )
    assert "NOTE the left camera's events are read, those of the right are not" in told
    rows = zip(*(events[name] for name in "ptyx"), strict=True)
    (tmp_path / "a.csv").write_text(
        "a,b,c,d\n" + "".join(f"{p},{t},{y},{x}\n" for p, t, y, x in rows)
    )
    run(
        "tools/convert_recording.py",
        tmp_path / "a.csv",
        tmp_path / "c.npz",
        "--event-columns",
        "p,t,y,x",
    )
    for name in ("b", "c"):
        with np.load(tmp_path / f"{name}.npz") as columns:
            assert all((columns[each] == events[each]).all() for each in "txyp")


def test_classes_and_a_class_set_are_not_given_together(labels, tmp_path):
    words = ["--classes", *ETRAM8, "--class-set", "etram8"]
    output = run("tools/convert_labels.py", labels, tmp_path / "out.csv", *words, ok=False)
    assert (
        "--class-set: not allowed with argument --classes" in output
        and not (tmp_path / "out.csv").exists()
    )
