"""The description of an exported detector: written twice, read back, never trusted blindly."""

from __future__ import annotations

import json
import shutil

import onnx
import pytest

from etram_mmdet.deploy.description import (
    METADATA_KEY,
    Description,
    State,
    from_json,
    read_description,
    sidecar_of,
)
from etram_mmdet.deploy.export.onnx_file import write_model
from etram_mmdet.deploy.onnx_metadata import read_metadata
from etram_mmdet.utils.errors import InputError

DESCRIPTION = Description(
    classes=("car", "bus"),
    palette=((255, 0, 0), (0, 255, 0)),
    representation=dict(type="StackedHistogram", downsample="nearest"),
    window_us=50_000,
    step_us=40_000,
    sensor_px=(192, 128),
    score_thr=0.001,
    nms=dict(type="nms", iou_threshold=0.45),
    nms_pre=5000,
    operating_points=dict(score_thr=dict(car=0.4, bus=0.5)),
    frame_shape=(20, 64, 96),
    batch=None,
    states=(State("hidden1", (16, 32, 48), "float32"), State("cell1", (16, 32, 48), "float32")),
    checkpoint=dict(name="iter_850.pth", sha256="a50c5d37"),
    versions=dict(etram_mmdet="0.2.0"),
)


@pytest.fixture
def path(tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    write_model(model, DESCRIPTION, tmp_path / "d.onnx")
    return tmp_path / "d.onnx"


def test_what_is_written_is_read(path):
    assert read_description(path) == DESCRIPTION
    assert json.loads(sidecar_of(path).read_text()) == DESCRIPTION.as_json()


def test_a_lost_sidecar_costs_nothing(path):
    sidecar_of(path).unlink()
    assert read_description(path) == DESCRIPTION


def test_metadata_are_read_as_the_package_onnx_reads_them(path):
    model = onnx.load(path)
    theirs = {each.key: each.value for each in model.metadata_props}
    assert read_metadata(path) == theirs and METADATA_KEY in theirs


def test_an_edited_sidecar_is_refused_by_name(path):
    content = DESCRIPTION.as_json() | dict(score_thr=0.5)
    sidecar_of(path).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"d.json: differs .*score_thr: 0.001, now 0.5.*delete"):
        read_description(path)


def test_a_file_of_another_model_is_refused(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"tools/export.py did not write it; export the checkp"):
        read_description(path)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_file_is_refused(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=r"not an ONNX file, or a damaged one|did not write it"):
        read_description(path)


def test_garbage_is_refused(path):
    path.write_bytes(b"\xff" * 1000)
    with pytest.raises(InputError, match="not an ONNX file, or a damaged one"):
        read_description(path)
    with pytest.raises(InputError, match="no such file"):
        read_description(path.with_name("other.onnx"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (dict(format_version=2), "format_version 2, expected 1"),
        (dict(classes=[]), "classes"),
        (dict(window_us="50000"), "window_us"),
        (dict(sensor_px=[192]), "sensor_px"),
        (dict(states=[dict(name="h", shape=[1, 0, 2], dtype="float32")]), "states"),
        (dict(nms=dict(type="nms")), "nms"),
        (dict(frame_dtype="object"), "frame_dtype"),
        (dict(more=1), "more"),
    ],
)
def test_wrong_entries_are_named(path, change, word):
    with pytest.raises(InputError, match=word):
        from_json(DESCRIPTION.as_json() | change, path)


def test_a_missing_entry_is_named(path):
    content = DESCRIPTION.as_json()
    del content["palette"]
    with pytest.raises(InputError, match="wrong entries: palette"):
        from_json(content, path)


def test_a_moved_file_keeps_its_description(path, tmp_path):
    shutil.copy(path, tmp_path / "copy.onnx")
    assert read_description(tmp_path / "copy.onnx") == DESCRIPTION
