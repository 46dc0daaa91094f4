"""Folders in RVT's layout from other converters: faults are found when they are opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.events.choices import RVT_REPRESENTATION
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.events.preprocessing.sequence_folder import representation_path
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import make_boxes

INDEX = "objframe_idx_2_repr_idx"
ROWS = "objframe_idx_2_label_idx"
FRAME_US = np.arange(1, 11) * 50_000


def write_layout(folder: Path, change: Callable[[dict], None] = lambda arrays: None) -> Path:
    """Ten frames, of which every second is labelled, with two boxes each."""
    index = np.arange(1, 10, 2)
    arrays = dict(
        data=np.zeros((10, 20, 24, 32), np.uint8),
        timestamps_us=FRAME_US,
        label_us=FRAME_US[index],
        labels=make_boxes(np.repeat(FRAME_US[index], 2)),
        **{INDEX: index, ROWS: np.arange(5) * 2},
    )
    change(arrays)
    path = folder / representation_path(build_representation(RVT_REPRESENTATION, 2, 2), 50_000)
    path.parent.mkdir(parents=True)
    (folder / "labels_v2").mkdir()
    with h5py.File(path, "w") as file:
        file["data"] = arrays["data"]
    np.save(path.with_name("timestamps_us.npy"), arrays["timestamps_us"])
    np.save(path.with_name(f"{INDEX}.npy"), arrays[INDEX])
    np.save(folder / "labels_v2" / "timestamps_us.npy", arrays["label_us"])
    np.savez(folder / "labels_v2" / "labels.npz", labels=arrays["labels"], **{ROWS: arrays[ROWS]})
    return folder


def _set(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict], None]:
    return lambda arrays: arrays.update({name: value(arrays[name])})


def _field_as(name: str, dtype: str) -> Callable[[dict], None]:
    other = np.dtype([(n, dtype if n == name else BBOX_DTYPE[n]) for n in BBOX_DTYPE.names])
    return _set("labels", lambda boxes: boxes.astype(other))


def _swap(rows: np.ndarray) -> np.ndarray:
    return rows[[0, 2, 1, *range(3, len(rows))]]


def _class_of_first(value: int) -> Callable[[dict], None]:
    signed = _field_as("class_id", "<i4")

    def change(arrays: dict) -> None:
        signed(arrays)
        arrays["labels"]["class_id"][0] = value

    return change


# The change, the file that the sentence names, and what it says of it.
FAULTS = {
    "index too short": (
        _set(INDEX, lambda i: i[:-2]),
        f"{INDEX}.npy: 3 indices of labelled frames, expected 5",
    ),
    "rows too few": (
        _set(ROWS, lambda r: r[:-2]),
        f"{INDEX}.npy: 5 indices of labelled frames, expected 3",
    ),
    "no rows at all": (
        _set(ROWS, lambda r: r[:0]),
        f"{INDEX}.npy: 5 indices of labelled frames, expected 0",
    ),
    "rows beyond the boxes": (
        _set(ROWS, lambda r: r + 10),
        "labels.npz: .* within 0 to 10, the number of boxes .row 1 is 12",
    ),
    "rows fall": (_set(ROWS, _swap), "labels.npz: .* within 0 to 10, .* boxes .row 2 is 2"),
    "index falls": (_set(INDEX, _swap), f"{INDEX}.npy: .* within the 10 frames .row 2 is 3"),
    "index is boolean": (
        _set(INDEX, lambda i: np.isin(np.arange(10), i)),
        rf"{INDEX}.npy: {INDEX} is bool \(10,\), expected one dimension of integers",
    ),
    "10 channels": (
        _set("data", lambda d: d[:, :10]),
        "ds2_nearest.h5: frames of 10 channels of uint8, .* makes 20",
    ),
    "signed frames": (
        _set("data", lambda d: d.astype(np.int8)),
        "ds2_nearest.h5: frames of 20 channels of int8",
    ),
    "float frames": (
        _set("data", lambda d: d.astype(np.float32)),
        "ds2_nearest.h5: data is float32 .*, expected uint8 or int8",
    ),
    "fewer frames than stamps": (
        _set("data", lambda d: d[:7]),
        "ds2_nearest.h5: 7 tensors, but timestamps_us has 10",
    ),
    "stamps fall": (
        _set("timestamps_us", _swap),
        "timestamps_us.npy: row 2 is 100000 after 150000, expected",
    ),
    "a stamp twice": (
        _set("timestamps_us", lambda t: np.where(t == 150_000, 100_000, t)),
        "timestamps_us.npy: row 2 is 100000 after 100000, expected",
    ),
    "stamps in seconds": (
        _set("timestamps_us", lambda t: t / 1e6),
        r"timestamps_us.npy: timestamps_us is float64 \(10,\), expected one dimension of integers",
    ),
    "label times as text": (
        _set("label_us", lambda t: t.astype("U9")),
        r"labels_v2/timestamps_us.npy: timestamps_us is <U9 \(5,\), expected one dimension of "
        r"integers",
    ),
    "corners as text": (
        _field_as("x", "U9"),
        "labels.npz: labels is .*, expected boxes with the numbers x, y, w, h and class_id",
    ),
    "times of boxes as text": (
        _field_as("t", "U9"),
        "labels.npz: labels is .*, expected boxes with the numbers x, y",
    ),
}


def open_folder(folder: Path) -> FolderSequence:
    return FolderSequence(folder, RVT_REPRESENTATION, 50_000, get_class_set("etram8"))


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_found_when_the_folder_is_opened(fault, tmp_path):
    change, says = FAULTS[fault]
    write_layout(tmp_path / "train" / "sound")
    folder = write_layout(tmp_path / "train" / "wrong", change)
    with pytest.raises(InputError, match=f"{folder}/.*{says}.*preprocess.py"):
        open_folder(folder)
    found = take_census(tmp_path)
    assert [recording.name for recording in found.recordings] == ["sound"]
    with pytest.raises(InputError, match=says):
        raise InputError("\n".join(found.problems))


@pytest.mark.parametrize("class_id", [-1, 8])
def test_classes_that_nobody_knows_are_named(class_id, tmp_path):
    folder = write_layout(tmp_path / "a", _class_of_first(class_id))
    with pytest.raises(
        InputError, match=rf"labels.npz: class ids \[{class_id}\] are not in class_set 'etram8'"
    ):
        open_folder(folder)


def test_a_sound_folder_is_opened(tmp_path):
    sequence = open_folder(write_layout(tmp_path / "a"))
    assert sequence.labelled.tolist() == [1, 3, 5, 7, 9] and len(sequence.boxes_of(3)[0]) == 2


def test_inspection_tells_of_sequences_of_two_shapes(tmp_path):
    write_layout(tmp_path / "train" / "a")
    write_layout(tmp_path / "train" / "b")
    assert not take_census(tmp_path).problems
    shutil.rmtree(tmp_path / "train" / "b")
    write_layout(tmp_path / "train" / "b", _set("data", lambda d: d[:, :, :16]))
    (problem,) = take_census(tmp_path).problems
    assert "(20, 24, 32) (train/a), (20, 16, 32) (train/b); put each" in problem
