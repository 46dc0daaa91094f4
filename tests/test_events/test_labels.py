from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.events.class_mapping import signed_ids
from etram_mmdet.events.labels import (
    BBOX_DTYPE,
    filter_boxes,
    load_boxes,
    load_label_times,
    load_named_boxes,
    small_boxes,
)
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import make_boxes


def test_old_field_names_order_and_missing_fields(tmp_path):
    old = np.zeros(
        3,
        [
            ("ts", "<u8"),
            *((name, "<f8") for name in "xywh"),
            ("class_id", "u1"),
            ("confidence", "<f4"),
        ],
    )
    old["ts"], old["w"], old["confidence"] = [30, 10, 10], [1, 2, 3], 0.5
    np.save(tmp_path / "a_bbox.npy", old)
    boxes = load_boxes(tmp_path / "a_bbox.npy")
    assert boxes.dtype == BBOX_DTYPE
    assert boxes["t"].tolist() == [10, 10, 30] and boxes["w"].tolist() == [
        2,
        3,
        1,
    ]  # equal times keep their order
    assert boxes["class_confidence"].tolist() == [0.5] * 3 and boxes["track_id"].tolist() == [0] * 3


def test_missing_confidence_is_one(tmp_path):
    np.save(tmp_path / "a.npy", make_boxes([1, 2])[["t", "x", "y", "w", "h", "class_id"]])
    assert load_boxes(tmp_path / "a.npy")["class_confidence"].tolist() == [1, 1]


BAD_FILES = {
    "absent": (lambda path: None, "no such label file"),
    "truncated": (
        lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'"),
        "not a readable .npy file",
    ),
    "pickle": (lambda path: np.save(path, np.array([{}], object)), "not a readable .npy file"),
    "plain array": (
        lambda path: np.save(path, np.zeros((3, 5))),
        r"float64 \(3, 5\), expected a one-dim.* fields t \(integer",
    ),
    "no width": (
        lambda path: np.save(path, make_boxes([1])[["t", "x", "y", "h"]]),
        "boxes without w, class_id .* w, h ",
    ),
    "two times": (
        lambda path: np.save(path, np.zeros(2, [*BBOX_DTYPE.descr, ("ts", "<i8")])),
        "has the fields t and ts, which have the same meaning",
    ),
    "two confidences": (
        lambda path: np.save(path, np.zeros(2, [("confidence", "<f4"), *BBOX_DTYPE.descr])),
        "has the fields class_confidence and confidence",
    ),
}


@pytest.mark.parametrize("problem", BAD_FILES)
def test_bad_label_file_is_named_with_its_problem(tmp_path, problem):
    write, sentence = BAD_FILES[problem]
    write(tmp_path / "bad_bbox.npy")
    with pytest.raises(InputError, match=f"bad_bbox.npy: .*{sentence}"):
        load_boxes(tmp_path / "bad_bbox.npy")


def test_each_rule_drops_and_counts_its_boxes():
    boxes = make_boxes([1] * 7)
    boxes["x"] = [10, 10, -30, 60, -10, 5, 0]
    boxes["w"] = [20, 20, 20, 20, 100, 4, 64]
    boxes["class_id"] = [0, 3, 0, 0, 0, 0, 0]
    boxes.flags.writeable = False
    kept, counts = filter_boxes(boxes, height=48, width=64, is_train=True, max_class_id=2)
    # x = -30 lies outside. x = 60 is cut to 3 px, which is too narrow, like w = 4. -10..90 and
    # 0..64 are cut to 63 px, which is too wide (57 px are allowed).
    assert counts.pop("boxes_not_finite") == 0
    assert counts == {
        "boxes_other_class": 1,
        "boxes_outside": 1,
        "boxes_too_small": 2,
        "boxes_too_wide": 2,
    }
    assert kept["x"].tolist() == [10]
    small = small_boxes(boxes, height=48, width=64, max_class_id=2)
    assert small["x"].tolist() == [60, 5] and small["w"].tolist() == [3, 4]
    kept, counts = filter_boxes(boxes, height=48, width=64, is_train=False)
    assert (counts["boxes_other_class"], counts["boxes_too_wide"]) == (0, 0)
    assert kept["x"].tolist() == [10, 10, 0, 0] and kept["w"].tolist() == [20, 20, 63, 63]


@pytest.mark.parametrize("bad", [dict(w=np.nan), dict(x=np.inf), dict(y=-np.inf), dict(h=np.nan)])
def test_boxes_without_numbers_are_counted(bad):
    kept, counts = filter_boxes(make_boxes([1], **bad), height=48, width=64, is_train=False)
    assert len(kept) == 0 and counts["boxes_not_finite"] == 1


def test_label_times_beside_the_labels(tmp_path):
    assert load_label_times(tmp_path / "a_bbox.npy").tolist() == []
    np.save(tmp_path / "a_label_times.npy", np.array([300, 100, 300], np.int32))
    assert load_label_times(tmp_path / "a_bbox.npy").tolist() == [100, 300]
    np.save(tmp_path / "a_label_times.npy", np.array([0.5]))
    with pytest.raises(
        InputError, match=r"a_label_times.npy: float64 \(1,\), expected one dimension of integer"
    ):
        load_label_times(tmp_path / "a_bbox.npy")
    (tmp_path / "a_label_times.npy").write_bytes(b"?")
    with pytest.raises(InputError, match=r"a_label_times\.npy: not a readable"):
        load_label_times(tmp_path / "a_bbox.npy")


@pytest.mark.parametrize(
    ("box_format", "numbers"),
    [("xywh", (10, 20, 30, 8)), ("cxcywh", (25, 24, 30, 8)), ("xyxy", (10, 20, 40, 28))],
)
def test_box_formats(tmp_path, box_format, numbers):
    x, y, w, h = numbers
    np.save(tmp_path / "a_bbox.npy", make_boxes([1], x=x, y=y, w=w, h=h))
    (box,) = load_boxes(tmp_path / "a_bbox.npy", box_format=box_format)
    assert [box[name] for name in "xywh"] == [10, 20, 30, 8]


@pytest.mark.parametrize(
    ("unit", "times"), [("us", [2_000, 7_000]), ("ms", [2, 7]), ("ns", [2_000_999, 7_000_001])]
)
@pytest.mark.parametrize("dtype", ["<u8", "<f8"])
def test_units_of_label_times(tmp_path, unit, times, dtype):
    boxes = np.zeros(2, [("t", dtype), *((name, "<f4") for name in "xywh"), ("class_id", "u1")])
    boxes["t"] = times
    np.save(tmp_path / "a_bbox.npy", boxes)
    assert load_boxes(tmp_path / "a_bbox.npy", unit)["t"].tolist() == [2_000, 7_000]
    np.save(tmp_path / "a_label_times.npy", np.array(times))
    assert load_label_times(tmp_path / "a_bbox.npy", unit).tolist() == [2_000, 7_000]


def test_half_milliseconds_are_kept(tmp_path):
    boxes = np.zeros(1, [("t", "<f8"), *((name, "<f4") for name in "xywh"), ("class_id", "u1")])
    boxes["t"] = 33.25
    np.save(tmp_path / "a_bbox.npy", boxes)
    assert load_boxes(tmp_path / "a_bbox.npy", "ms")["t"].tolist() == [33_250]


@pytest.mark.parametrize("kind", ["<i4", "<i8", "<f4", "<f8"])
def test_negative_class_ids_are_kept_and_others_refused(tmp_path, kind):
    boxes = np.zeros(2, [("t", "<i8"), *((name, "<f4") for name in "xywh"), ("class_id", kind)])
    boxes["class_id"] = [-1, 3]
    np.save(tmp_path / "a_bbox.npy", boxes)
    assert signed_ids(load_boxes(tmp_path / "a_bbox.npy")["class_id"]).tolist() == [-1, 3]
    boxes["class_id"][1] = 2**33 if kind == "<i8" else -(2**31) if kind == "<i4" else 1.5
    np.save(tmp_path / "a_bbox.npy", boxes)
    if kind == "<i4":
        assert signed_ids(load_boxes(tmp_path / "a_bbox.npy")["class_id"]).tolist() == [
            -1,
            -(2**31),
        ]
        return
    with pytest.raises(
        InputError,
        match=r"a_bbox\.npy: class_id is .* in row 1, expected whole numbers from 0; correct",
    ):
        load_boxes(tmp_path / "a_bbox.npy")


@pytest.mark.parametrize("kind", ["<U8", "S8"])
def test_class_names_are_read_with_the_numbers_that_count_them(tmp_path, kind):
    boxes = np.zeros(3, [("t", "<i8"), *((name, "<f4") for name in "xywh"), ("class_id", kind)])
    boxes["t"] = [3, 1, 2]
    boxes["class_id"] = ["car", " Bus ", "car"]
    np.save(tmp_path / "a_bbox.npy", boxes)
    read, names = load_named_boxes(tmp_path / "a_bbox.npy")
    assert [names[i] for i in read["class_id"]] == ["Bus", "car", "car"]
    with pytest.raises(InputError, match=r"class_id is text \(Bus, car\), expected numbers"):
        load_boxes(tmp_path / "a_bbox.npy")


def test_seconds_become_the_microseconds_that_were_meant(tmp_path):
    boxes = make_boxes([0, 0]).astype([("t", "<f8"), *BBOX_DTYPE.descr[1:]])
    boxes["t"] = [0.29, 1.000001]  # 0.29 * 1e6 is 289999.99999999994
    np.save(tmp_path / "a_bbox.npy", boxes)
    assert load_boxes(tmp_path / "a_bbox.npy", "s")["t"].tolist() == [290_000, 1_000_001]
