"""Files that point at other files, or wait for a writer, are refused in a sentence."""

from __future__ import annotations

import os
import re

import h5py
import hdf5plugin
import numpy as np
import pytest

from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.evaluation.results_table import evaluations
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.formats.array_files import load_array, open_hdf5, own_member
from etram_mmdet.events.labels import load_boxes, load_label_times
from etram_mmdet.events.preprocessing.sequence_folder import (
    MANIFEST,
    read_manifest,
    representation_path,
)
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import make_events, write_events

REPRESENTATION = dict(type="StackedHistogram", bins=10, downsample="nearest")


@pytest.fixture
def secret(tmp_path):
    """A file that the stranger cannot read and the user of the tools can."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(1000, dtype=np.int64)
        file["events/t"] = np.arange(1000, dtype=np.int64)
        for name in "xyp":
            file[f"events/{name}"] = np.ones(1000, np.uint16)
    (tmp_path / "secret.bin").write_bytes(np.arange(1000, dtype=np.int64).tobytes())
    return path


def external_link(file, name, secret):
    file[name] = h5py.ExternalLink(str(secret), "/data")


def soft_link(file, name, secret):
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/data")
    file[name] = h5py.SoftLink("/elsewhere")


def external_storage(file, name, secret):
    raw = str(secret.with_suffix(".bin"))
    file.create_dataset(name, (1000,), np.int64, external=[(raw, 0, h5py.h5f.UNLIMITED)])


def virtual(file, name, secret):
    layout = h5py.VirtualLayout((1000,), np.int64)
    layout[:] = h5py.VirtualSource(str(secret), "data", (1000,))
    file.create_virtual_dataset(name, layout)


WAYS = [external_link, soft_link, external_storage, virtual]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("column", ["t", "x", "width"])
def test_a_column_in_another_file_is_refused(way, column, secret, tmp_path):
    path = write_events(tmp_path / "a_td.h5", make_events(1000))
    with h5py.File(path, "r+") as file:
        if f"events/{column}" in file:
            del file[f"events/{column}"]
        way(file, f"events/{column}", secret)
    with pytest.raises(
        InputError, match=rf"a_td\.h5: {column} .*write the data into this file itself"
    ):
        open_recording(path)


@pytest.mark.parametrize("link", [h5py.ExternalLink, lambda file, name: h5py.SoftLink(name)])
def test_a_table_in_another_file_is_refused(link, secret, tmp_path):
    path = tmp_path / "a_td.h5"
    with h5py.File(path, "w") as file:
        file["events"] = link(str(secret), "/events")
    with pytest.raises(InputError, match=r"a_td\.h5: events is a link"):
        open_recording(path)


@pytest.mark.parametrize("way", WAYS)
def test_frames_in_another_file_are_refused(way, secret, tmp_path):
    path = tmp_path / "a" / representation_path(build_representation(REPRESENTATION, 2, 2), 50_000)
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        way(file, "data", secret)
    with pytest.raises(InputError, match=r"data .*write the data into this file itself"):
        FolderSequence(tmp_path / "a", REPRESENTATION, 50_000, get_class_set("etram8"))


def test_members_of_the_file_are_found(tmp_path):
    path = write_events(tmp_path / "a_td.h5", make_events(10))
    with open_hdf5(path) as file:
        assert len(own_member(path, file, "events/t")) == 10
        assert (
            own_member(path, file, "events/none") is None
            and own_member(path, file, "events/t/deeper") is None
        )


def read_named_manifest(path):
    os.rename(path, path.with_name(MANIFEST))
    read_manifest(path.parent)


def read_label_times(path):
    os.rename(path, path.with_name("a_label_times.npy"))
    load_label_times(path.with_name("a_bbox.npy"))


@pytest.mark.parametrize(
    "read",
    [
        open_recording,
        open_hdf5,
        load_boxes,
        load_array,
        load_predictions,
        read_named_manifest,
        read_label_times,
        lambda path: evaluations(path, "val", dict(run="", test_cfg={}, val_data=dict(sha256=""))),
    ],
)
def test_a_named_pipe_does_not_hang(read, tmp_path):
    pipe = tmp_path / "a_td.h5"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="not a regular file"):
        read(pipe)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"text"])
def test_damaged_arrays_end_in_the_advice(content, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy: not a readable \.npy file .*; ask again"):
        load_array(tmp_path / "a.npy", advice="ask again")


def test_objects_in_arrays_are_not_built(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a readable"):
        load_array(tmp_path / "a.npy")


def test_filters_that_crash_on_damage_are_refused(tmp_path):
    path = write_events(tmp_path / "a_td.h5", make_events(1000))
    with h5py.File(path, "r+") as file:
        stamps = file["events/t"][()]
        del file["events/t"]
        file.create_dataset("events/t", data=stamps, **hdf5plugin.Bitshuffle())
    with pytest.raises(InputError, match=r"t is compressed with HDF5 filter 32008.*h5repack"):
        open_recording(path)
    with h5py.File(path, "r+") as file:
        del file["events/t"]
        file.create_dataset("events/t", data=stamps, **hdf5plugin.Zstd())
    with open_recording(path) as recording:
        assert recording.num_events == 1000


def test_sizes_that_take_all_memory_are_refused(tmp_path):
    path = write_events(tmp_path / "a_td.h5", make_events(1000))
    with h5py.File(path, "r+") as file:
        for name in ("width", "height"):
            if name in file["events"]:
                del file["events"][name]
            file["events"].create_dataset(
                name, (1 << 29,), np.int64
            )  # never written, so it takes no room
        file.attrs.update(width=60_000, height=60_000)
    with pytest.raises(
        InputError, match="a sensor of 60000x60000 pixels, expected sides of 1 to 8192"
    ):
        open_recording(path)
    with h5py.File(path, "w") as file:
        for name in "txyp":
            file.create_dataset(f"events/{name}", (1 << 28,), np.int64, chunks=(1 << 28,))
        for name in "txyp":
            file[f"events/{name}"].id.write_direct_chunk((0,), bytes(8))
    with pytest.raises(InputError, match="chunks of 2,048 MiB"):
        open_recording(path)
    with h5py.File(path, "w") as file:
        for name in "txyp":
            file.create_dataset(f"events/{name}", (1 << 40,), np.int64, chunks=(1 << 16,))
    with pytest.raises(InputError, match="states 1099511627776 events, but holds none of them"):
        open_recording(path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("objframe_idx_2_label_idx", [-(10**9), 5], "label_idx is not ascending"),
        ("objframe_idx_2_label_idx", [5, 0], "label_idx is not ascending"),
        ("objframe_idx_2_label_idx", [0, 10**9], "label_idx is not ascending"),
        (
            "objframe_idx_2_label_idx",
            [[0], [1]],
            "label_idx is int64 (2, 1), expected one dimension",
        ),
        ("objframe_idx_2_label_idx", [0, 1, 2], "2 indices of labelled frames, expected 3"),
        (
            "labels",
            np.zeros(9, [("x", "f4")]),
            "expected boxes with the numbers x, y, w, h and class_id",
        ),
        ("timestamps_us", 7, "timestamps_us is int64 (), expected one dimension"),
        ("repr_idx", [0.0, 1.0], "repr_idx is float64 (2,), expected one dimension"),
    ],
)
def test_a_layout_that_makes_no_sense_is_a_sentence(name, value, says, tmp_path):
    boxes = np.zeros(9, [(field, "f4") for field in "xywh"] + [("class_id", "u1")])
    arrays = dict(
        timestamps_us=[0, 1], repr_idx=[0, 1], labels=boxes, objframe_idx_2_label_idx=[0, 4]
    ) | {name: value}
    path = tmp_path / "a" / representation_path(build_representation(REPRESENTATION, 2, 2), 50_000)
    labels = tmp_path / "a" / "labels_v2" / "labels.npz"
    for folder in (path.parent, labels.parent):
        folder.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((2, 20, 4, 4), np.uint8)
    np.save(path.with_name("timestamps_us.npy"), arrays["timestamps_us"])
    np.save(path.with_name("objframe_idx_2_repr_idx.npy"), arrays["repr_idx"])
    rows = dict(
        labels=arrays["labels"], objframe_idx_2_label_idx=arrays["objframe_idx_2_label_idx"]
    )
    np.savez(labels, **rows)
    with pytest.raises(InputError, match=re.escape(says)):
        FolderSequence(tmp_path / "a", REPRESENTATION, 50_000, get_class_set("etram8"))
