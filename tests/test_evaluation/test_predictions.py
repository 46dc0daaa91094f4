"""Saved predictions: exact numbers, and messages for files that are wrong."""

from __future__ import annotations

import io
import itertools
import json
import re
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from etram_mmdet.evaluation import prediction_json
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.predictions import (
    check_may_judge,
    load_predictions,
    load_together,
    save_predictions,
    with_truth_of,
)
from etram_mmdet.evaluation.protocols import get_protocols
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.errors import InputError

CLASSES = ("pedestrian", "car")


def frames() -> list[FrameResult]:
    """Two frames: one with numbers of many digits, one without boxes."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20, (3, 2)).astype(np.float32)
    boxes = np.hstack([corners, corners + np.float32(1 / 3)])
    found = Boxes(
        boxes + np.float32(0.1),
        np.array([1, 0, 1]),
        scores=rng.random(3).astype(np.float32),
        class_scores=rng.random(3).astype(np.float32),
    )
    small = Boxes(boxes[:1] + np.float32(0.2), np.array([1]))
    full = FrameResult(
        "b",
        5,
        Boxes(boxes, np.array([0, 1, 1])),
        found,
        2,
        (24, 24),
        small,
        start_us=3,
        step_us=20_000,
    )
    return [full, FrameResult("a", 7, Boxes(boxes[:0], np.empty(0, np.int64)), Boxes.empty())]


@pytest.fixture
def path(tmp_path) -> Path:
    save_predictions(tmp_path / "p.json", frames(), CLASSES, dict(score_thr=0.001))
    return tmp_path / "p.json"


def changed(path: Path, change) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_every_bit_comes_back_in_order(path):
    found = load_predictions(path)
    assert found.classes == CLASSES and found.test_cfg == dict(score_thr=0.001)
    assert [f.key for f in found.frames] == [("a", 7), ("b", 5)]
    for ours, theirs in zip(found.frames, frames()[::-1], strict=True):
        assert ours == theirs
        assert ours.found.bboxes_xyxy.dtype == np.float32 and ours.found.labels.dtype == np.int64
        assert ours.step_us == theirs.step_us


def test_predictions_without_a_step_are_of_50_ms(path):
    frames = load_predictions(
        changed(path, lambda c: [frame.pop("step_us") for frame in c["frames"]])
    ).frames
    assert [frame.step_us for frame in frames] == [50_000, 50_000]


def first(content: dict) -> dict:
    return content["frames"][0]


def replace_value(key: str, value: object, content: dict) -> None:
    first(content)[key] = value


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: c.update(frames=[]), "holds no frame"),
        (
            lambda c: c.pop("classes"),
            "has no 'classes'; make it again with tools/test.py CHECKPOINT --out",
        ),
        (lambda c: first(c).pop("scores"), "has no 'scores'"),
        (
            lambda c: first(c).update(step_us=-1),
            "'b' at t_us=5: step_us: -1, expected a whole number of at least 1",
        ),
        (
            lambda c: first(c)["scores"].__setitem__(1, 87.5),
            "'b' at t_us=5: detections: scores holds 1 values outside 0 to 1, such as 87.5",
        ),
        (
            lambda c: first(c)["scores"].__setitem__(1, float("nan")),
            "'b' at t_us=5: detections: scores holds 1 values that are NaN",
        ),
        (
            lambda c: first(c)["scores"].pop(),
            r"'b' at t_us=5: detections: scores has the shape \(2,\), expected \(3,\) for 3 labels",
        ),
        (
            lambda c: first(c)["labels"].__setitem__(0, 2),
            r"detections: labels holds \[2\], expected 0 to 1",
        ),
        (
            lambda c: first(c).update(bboxes=[[0, 0, 90, 9], [30, 0, 40, 9], [0, 0, 9, 9]]),
            r"detections: 2 of 3 have their centre outside the frame, such as "
            r"\[0.0, 0.0, 90.0, 9.0\] in a frame of 24x24 network",
        ),
        (lambda c: c.update(format_version=3), "format_version 3, expected 2"),
        (
            lambda c: c["frames"].append(first(c) | dict(scores=[0.1] * 3)),
            "1 frames occur twice, such as",
        ),
        (
            lambda c: first(c)["class_scores"].pop(),
            r"class_scores has the shape \(2,\), expected \(3,\)",
        ),
        (
            lambda c: first(c)["class_scores"].__setitem__(0, float("nan")),
            "class_scores holds 1 values that are NaN",
        ),
        (
            lambda c: first(c).update(t_us=float("inf")),
            r"frames\[0\]: t_us: inf, expected a whole number",
        ),
        (lambda c: first(c).update(t_us=5.5), "t_us: 5.5, expected a whole number"),
        (lambda c: first(c)["labels"].__setitem__(0, 0.7), "labels: .* a list of whole numbers"),
        (lambda c: first(c)["labels"].__setitem__(0, 1e30), "labels: .* a list of whole numbers"),
        (
            lambda c: first(c).update(hw=[300]),
            r"'b' at t_us=5: hw: \[300\], expected height and width",
        ),
        (lambda c: first(c).update(scale=-2), "scale: -2, expected a whole number of at least 1"),
        (
            lambda c: first(c)["bboxes"].__setitem__(0, [9, 9, 3, 4]),
            "1 boxes have x2 < x1 or y2 < y1",
        ),
        (
            lambda c: first(c)["gt_bboxes"].__setitem__(0, [0, 0, 9, 90]),
            "ground truth: 1 boxes lie outside the frame",
        ),
        (lambda c: c.update(classes="car"), "'car', expected a list of names"),
        (lambda c: c.update(classes=[]), r"\[\], expected a list of names"),
        (lambda c: c.update(classes=["car", "car"]), "expected a list of names, each once"),
        (lambda c: c.update(format_version=True), "format_version True, expected 2"),
        (lambda c: c.update(test_cfg="a"), "test_cfg: 'a', expected an object"),
        (lambda c: c.update(checkpoint=[1]), r"checkpoint: \[1\], expected a path"),
        (lambda c: c.update(frames=3), "frames: 3, expected a list of frames"),
        (lambda c: c["frames"].append([1]), r"frames\[2\] is \[1\], expected an object"),
        *(
            (partial(replace_value, key, value), f"{key}: {re.escape(repr(value))}, expected")
            for key, value in (
                ("bboxes", [[1, 2, 3]]),
                ("bboxes", [[[1, 2], [3, 4]]]),
                ("bboxes", [1, 2, 3, 4]),  # no list of boxes
                ("scores", ["0.5", "0.4", "0.3"]),
                ("scores", [[0.5, 0.4, 0.3]]),
                ("class_scores", [None, 0.4, 0.3]),
                ("gt_labels", ["1", "0", "1"]),
                ("ignored_labels", [2**63]),
                ("scale", 0),
                ("scale", False),
                ("step_us", 0),
                ("t_us", [5]),
                ("hw", [24, 0]),
                ("hw", [[24], [24]]),
                ("recording", None),
            )
        ),
    ],
)
def test_what_is_wrong_is_named(path, change, says):
    with pytest.raises(InputError, match=says) as raised:
        load_predictions(changed(path, change))
    assert str(path) in str(raised.value)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(
        InputError, match=r"no such file; make it with tools/test.py CHECKPOINT --out"
    ):
        load_predictions(tmp_path / "none.json")
    (tmp_path / "empty.json").write_text("")
    with pytest.raises(InputError, match=r"not valid JSON .*; make it again with tools/test.py"):
        load_predictions(tmp_path / "empty.json")


def test_truth_may_come_from_the_data(path):
    changed(path, lambda c: [f.pop("gt_bboxes") and f.pop("gt_labels") for f in c["frames"][:1]])
    with pytest.raises(InputError, match="'b' at t_us=5 has no 'gt_bboxes'"):
        load_predictions(path)
    found = load_predictions(path, with_truth=False).frames
    truth = {f.key: f._replace(hw=(24, 24)) for f in frames()}
    joined = with_truth_of(found, truth, path)
    assert {f.key for f in joined} == set(truth) and len(joined[0].truth) == 3
    assert joined[0].found == frames()[0].found
    with pytest.raises(
        InputError,
        match="1 labelled frames of the evaluated data have no predictions; the first is 'b' at "
        "t_us=5",
    ):
        with_truth_of(found[:1], truth, path)
    with pytest.raises(
        InputError,
        match=r"1 predicted frames are of recordings that the .* not hold.*'b' at t_us=5",
    ):
        with_truth_of(found, {("a", 7): truth["a", 7]}, path)
    between = found[0]._replace(t_us=found[0].t_us + 1)
    assert with_truth_of([*found, between], truth, path) == joined, "labels decide what counts"


def test_files_of_several_recordings_are_read_together(path, tmp_path):
    parts = [tmp_path / f"{frame.recording}.json" for frame in frames()]
    for part, frame in zip(parts, frames(), strict=True):
        save_predictions(part, [frame], CLASSES, {})
    together = load_together(parts[::-1])
    assert together.frames == load_predictions(path).frames
    with pytest.raises(InputError, match="'b' at t_us=5 is in another of the files, too"):
        load_together([path, parts[[f.recording for f in frames()].index("b")]])
    changed(parts[1], lambda content: content.pop("format_version"))
    with pytest.raises(InputError, match="only one of them has format_version 2"):
        load_together(parts)
    save_predictions(parts[0], frames()[:1], ("car", "bus", "kite"), {})
    with pytest.raises(InputError, match=r"has the classes .*; evaluate predictions of one detec"):
        load_together([path, parts[0]])


def test_boxes_in_other_pixels_than_the_networks(path):
    """The file states another ``hw``, or a box lies outside the frame."""
    truth = {f.key: f._replace(hw=(24, 24)) for f in frames()}
    changed(path, lambda c: [f.update(hw=[48, 48]) for f in c["frames"]])
    with pytest.raises(
        InputError, match=r"boxes in a frame of 48x48 pixels, but a frame of the network has 24x24"
    ):
        with_truth_of(load_predictions(path).frames, truth, path)
    changed(path, lambda c: [f.update(hw=None) for f in c["frames"]])
    with_truth_of(load_predictions(path).frames, truth, path)
    changed(path, lambda c: first(c).update(bboxes=[[20, 0, 40, 9]] * 3))
    with pytest.raises(
        InputError, match=r"p.json: detections: 3 of 3 have their centre outside the frame, such as"
    ):
        with_truth_of(load_predictions(path).frames, truth, path)


def test_ignored_boxes_may_be_missing(path):
    changed(
        path,
        lambda c: [f.pop("ignored_bboxes") and f.pop("ignored_labels") for f in c["frames"][:1]],
    )
    assert [len(f.ignored) for f in load_predictions(path).frames] == [0, 0]


def test_boxes_beyond_the_frame_come_back_whole(path):
    whole = [[-9, -4, 1, 9], [20, 1, 40, 9], [1, 1, 2, 50]]
    changed(path, lambda c: first(c).update(bboxes=whole))
    (_, full) = load_predictions(path).frames
    assert full.found.bboxes_xyxy.tolist() == whole


def test_a_file_without_a_version_holds_clipped_boxes(path):
    """The protocol ``coco`` accepts them; the reference's protocols need unclipped boxes."""
    ours, theirs = get_protocols(["coco"]), get_protocols(["coco", "prophesee"])
    check_may_judge(load_predictions(path), theirs, path)
    changed(path, lambda c: c.pop("format_version"))
    saved = load_predictions(path)
    check_may_judge(saved, ours, path)
    with pytest.raises(
        InputError,
        match=r"clipped to the frame, but prophesee evaluates unclipped detections.*--out",
    ) as raised:
        check_may_judge(saved, theirs, path)
    assert str(path) in str(raised.value)


def test_frames_without_detections_need_no_class_scores(path):
    changed(path, lambda c: [f.pop("class_scores") for f in c["frames"]])
    empty, full = load_predictions(path).frames
    assert len(empty.found.class_scores) == 0 and full.found.class_scores is None


def test_valid_frames_are_never_read_one_by_one(path, monkeypatch):
    """Only a file with something wrong takes the slow way, which finds the place."""
    changed(path, lambda c: first(c).update(hw=None, class_scores=None, scale=None))
    monkeypatch.setattr(prediction_json, "_frame_of", None)
    monkeypatch.setattr(prediction_json, "check_frame", None)
    assert [len(f.found) for f in load_predictions(path).frames] == [0, 3]


def test_lists_become_arrays_while_the_file_is_read():
    """A list that is no array of numbers stays for the message."""
    saved = dict(bboxes=[[1, 2, 3, 4]], scores=[0.5], labels=[1], gt_labels=["car"], hw=[3, 4])
    found = prediction_json.with_arrays(dict(saved))
    assert {type(found[key]) for key in ("bboxes", "scores", "labels")} == {np.ndarray}
    assert (found["bboxes"].dtype, found["labels"].dtype) == (np.float32, np.int64)
    assert (found["gt_labels"], found["hw"]) == (["car"], [3, 4])
    settings = prediction_json.with_arrays(dict(scores=[0.5]))  # an object that is no frame
    assert isinstance(settings["scores"], list)


def test_frames_are_written_one_by_one():
    pieces = prediction_json.pieces_of(dict(classes=[]), itertools.repeat(frames()[0]))
    texts = list(itertools.islice(pieces, 3))  # of endlessly many
    content = json.loads("".join(texts) + "]}")
    assert [f["t_us"] for f in content["frames"]] == [5, 5]
    assert np.float32(content["frames"][1]["scores"]).tolist() == frames()[0].found.scores.tolist()


def mixed() -> list[FrameResult]:
    """The two frames, and one whose class scores and size are not known."""
    full, empty = frames()
    found = full.found.replaced(class_scores=None)
    return [full, empty, full._replace(t_us=6, found=found, hw=None)]


def test_columns_hold_every_frame():
    columns = FrameColumns.of(mixed())
    assert columns.frames() == mixed()
    keep = np.array([True, False, True, False, True, False])
    first_one, last = columns.where(np.array([True, False, True]), found=keep).frames()
    assert first_one == mixed()[0]._replace(found=mixed()[0].found[keep[:3]])
    assert last == mixed()[2]._replace(found=mixed()[2].found[keep[3:]])


@pytest.fixture
def npz(tmp_path) -> Path:
    save_predictions(tmp_path / "p.npz", mixed(), CLASSES, dict(score_thr=0.001))
    return tmp_path / "p.npz"


def test_every_bit_comes_back_from_an_archive(npz):
    found = load_predictions(npz)
    assert found.classes == CLASSES and found.test_cfg == dict(score_thr=0.001)
    assert found.frames == sorted(mixed(), key=lambda frame: frame.key) and not found.is_clipped
    assert found.frames[1].found.labels.dtype == np.int64
    with np.load(npz, allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays} <= set("iufb")


def without_scores(arrays: dict) -> dict:
    del arrays["scores"]
    return {}


def header(arrays: dict, **changes) -> dict:
    content = json.loads(arrays["header"].tobytes()) | changes
    return dict(header=np.frombuffer(json.dumps(content).encode(), np.uint8))


@pytest.mark.parametrize(
    "change, says",
    [
        (
            lambda a: {} if a.pop("scores").size else None,
            "has no 'scores'; make it again with tools/test.py",
        ),
        (
            lambda a: dict(scores=a["scores"] * 0 + 87.5),
            "'b' at t_us=5: detections: scores holds 3 values outside 0 to 1, such as 87.5",
        ),
        (
            lambda a: dict(gt_labels=a["gt_labels"] + 1),
            r"'b' at t_us=5: ground truth: labels holds \[2\], expected 0 to 1",
        ),
        (
            lambda a: dict(gt_bboxes=a["gt_bboxes"] + 40),
            "'b' at t_us=5: ground truth: 3 boxes lie outside the frame of 24x24",
        ),
        (lambda a: dict(scores=a["scores"][1:]), r"scores has the shape \(5,\), expected \(6,\)"),
        (lambda a: dict(hw=a["hw"] * [0, 1]), r"hw holds \[0, 24\], expected height and width"),
        (lambda a: dict(gt_labels=a["gt_labels"][1:]), r"gt_labels has the shape \(5,\), expected"),
        (lambda a: header(a, classes=["car", "car"]), "expected a list of names, each once"),
        (lambda a: {} if a.pop("header").size else None, "holds no header"),
        (lambda a: dict(header=np.frombuffer(b"[1]", np.uint8)), "no names of recordings"),
        (lambda a: dict(labels=a["labels"] / 2), "labels is of type float64, expected whole"),
        (lambda a: dict(recording=a["recording"] + 1), "recording holds 2, but there are 2 names"),
        (lambda a: dict(step_us=a["step_us"] * 0), "step_us holds 0, expected numbers of at least"),
        (lambda a: dict(t_us=a["t_us"] + 2**53), "t_us holds .*, expected less than 2"),
        (lambda a: dict(has_class_scores=np.array(["a"] * 3)), "has_class_scores is of type <U1"),
        (lambda a: dict(t_us=a["t_us"][1:]), r"t_us has the shape \(2,\), expected \(3,\)"),
        (lambda a: dict(t_us=a["t_us"] * 0), r"1 frames occur twice, such as \('b', 0\)"),
        (lambda a: header(a, format_version=3), "format_version 3, expected 2"),
        (lambda a: header(a, classes="car"), "'car', expected a list of names"),
        (lambda a: dict(header=a["header"][1:]), "not a readable file of predictions"),
        (lambda a: dict(t_us=np.array(["a"] * 3, object)), "not a readable file of predictions"),
    ],
)
def test_what_is_wrong_in_an_archive_is_named(npz, change, says):
    with np.load(npz) as archive:
        arrays = dict(archive)
    changes = change(arrays)  # which may take an array away
    np.savez(npz, **arrays | changes)
    with pytest.raises(InputError, match=says) as raised:
        load_predictions(npz)
    assert str(npz) in str(raised.value)


def test_what_is_no_archive(npz):
    npz.write_bytes(npz.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"p\.npz: not a readable file of predictions .*--out"):
        load_predictions(npz)
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        load_predictions(npz.with_name("none.npz"))


def test_nothing_else_than_the_sentence_is_printed(path, npz):
    """NumPy warns of numbers that are too large for float32, and of sums that are."""
    changed(path, lambda c: first(c)["bboxes"].__setitem__(0, [0, 0, 1e39, 1]))
    with np.load(npz) as archive:
        arrays = dict(archive)
    np.savez(npz, **arrays | dict(scores=np.full(6, 1e300)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file, what in ((path, "bboxes_xyxy"), (npz, "scores")):
            with pytest.raises(InputError, match=f"detections: {what} holds . values that are NaN"):
                load_predictions(file)
        changed(path, lambda c: first(c)["bboxes"].__setitem__(0, [3e38, 0, 3.1e38, 9]))
        saved = load_predictions(path).frames
        get_protocols(["prophesee"])[0].select([f._replace(start_us=-1_000_000) for f in saved])


@pytest.mark.parametrize("key", ["labels", "scores", "gt_labels", "bboxes"])
def test_a_long_text_among_numbers_takes_no_memory(path, key):
    """NumPy would give every row the room of the longest text, here 40 GB."""
    changed(path, lambda c: replace_value(key, ["x" * 100_000, *[1] * 100_000], c))
    with pytest.raises(InputError, match=f"'b' at t_us=5: {key}: .*expected a list of"):
        load_predictions(path)


def test_numbers_of_boxes_whose_sum_overflows(npz):
    """Modulo 2^64 these counts add up to the 6 boxes of the file."""
    with np.load(npz) as archive:
        arrays = dict(archive)
    frames = 2**11 + 1
    counts = np.full(frames, 2**53 - 1)
    counts[-1] = 2**11 + 6
    columns = {
        name: np.resize(column, (frames, *column.shape[1:]))
        for name, column in arrays.items()
        if column.shape[:1] == (3,)
    }
    columns |= dict(t_us=np.arange(frames), num_boxes=counts)
    np.savez(npz, **arrays | columns)
    with pytest.raises(InputError, match="bboxes has the shape"):
        load_predictions(npz)


@pytest.mark.parametrize("name", ["scores.npy", "scores"])
def test_two_members_of_one_name(npz, name):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(6, np.float32))
    with warnings.catch_warnings(), zipfile.ZipFile(npz, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name, buffer.getvalue())
    with pytest.raises(InputError, match="holds 'scores' twice"):
        load_predictions(npz)


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_too_little_memory(path, npz, suffix, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr("json.loads", no_memory)
    with pytest.raises(InputError, match=r"no memory is left to read its [\d,]+ bytes; end other"):
        load_predictions(path.with_suffix(f".{suffix}"))
