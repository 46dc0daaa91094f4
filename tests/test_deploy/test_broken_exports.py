"""Exported files that are damaged, edited or made by somebody else are refused in one sentence."""

from __future__ import annotations

import argparse
import json
import math
import os

import numpy as np
import onnx
import pytest

from etram_mmdet.apis.opened_model import inputs_of
from etram_mmdet.apis.results import Tally
from etram_mmdet.deploy import engines, onnx_metadata
from etram_mmdet.deploy.description import (
    check_sidecar_free,
    from_json,
    read_description,
    sidecar_of,
)
from etram_mmdet.deploy.engines.base import cause_of, stated_threads
from etram_mmdet.deploy.export import onnx_file
from etram_mmdet.deploy.export.int8 import calibration_inputs, check_recordings
from etram_mmdet.deploy.onnx_metadata import SEAL_KEY, check_self_contained, sealed
from etram_mmdet.deploy.reseal import reseal
from etram_mmdet.deploy.runtime import EventInferencer
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.utils.cli import any_number, make_parser
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_not_read, check_writable
from tests.helpers.cli import run
from tests.helpers.raw import HEIGHT, WIDTH, make_events, write_events
from tests.helpers.tiny_graph import DESCRIPTION, tiny_model, write_tiny

BACKENDS = ("onnx", "openvino")
VALUES = {
    "none": None,
    "true": True,
    "zero": 0,
    "negative": -2,
    "huge": 10**30,
    "nan": math.nan,
    "infinity": math.inf,
    "half": 1.5,
    "word": "x",
    "nothing": "",
    "list": [],
    "pair": [1, 2],
    "nested": [[[[]]]],
    "dict": {},
    "of_text": {"a": "x"},
    "half_character": "\ud800",
    "control": "\x1b[31m\n",
    "of_half_characters": ["\ud800", "b"],
}
# Values that mean something.
RIGHT = {
    *((name, "none") for name in ("step_us", "operating_points", "batch")),
    *((name, "dict") for name in ("operating_points", "trained_on", "data", "checkpoint")),
    *((name, "of_text") for name in ("operating_points", "data", "checkpoint", "versions")),
    ("versions", "dict"),
    ("score_thr", "zero"),
    ("nms_pre", "zero"),
    ("states", "list"),
}
ENTRIES = list(DESCRIPTION.as_json())


@pytest.fixture
def path(tmp_path):
    return write_tiny(tmp_path / "d.onnx")


def rewritten(path, change, seal=True):
    """The file after ``change(model)``, by somebody who knows the seal."""
    model = onnx.load(path)
    for entry in [each for each in model.metadata_props if each.key == SEAL_KEY]:
        model.metadata_props.remove(entry)
    change(model)
    content = model.SerializeToString()
    path.write_bytes(sealed(content) if seal else content)
    return path


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_wrong_value_of_every_entry_is_refused(entry, tmp_path):
    content = DESCRIPTION.as_json()
    taken = set()
    for name, value in VALUES.items():
        try:
            from_json({**content, entry: value}, tmp_path / "d.onnx")
            taken.add((entry, name))
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
            str(error).encode()
            assert "export the checkpoint again" in str(error)
    assert taken == {pair for pair in RIGHT if pair[0] == entry}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (dict(representation=dict(type=["StackedHistogram"])), "representation .* is unknown"),
        (dict(representation=dict(type="os.system")), "representation 'os.system' is unknown"),
        (
            dict(representation=dict(type="StackedHistogram", bins="10")),
            "bins='10', expected a whol",
        ),
        (dict(representation=dict(type="StackedHistogram", bins=True)), "bins=True, expected"),
        (dict(representation=dict(type="StackedHistogram", bins=10**9)), "makes frames"),
        (dict(representation=dict(type="StackedHistogram", bins=2)), r"makes frames uint8 \[4, "),
        (dict(sensor_px=[WIDTH * 2, HEIGHT * 2]), "makes frames"),
        (dict(frame_dtype="float32"), "makes frames"),
        (dict(palette=[[1, 2, 3]]), "1 colours for 2 classes"),
        (dict(palette=[[1, 2, 256]] * 2), "palette"),
        (dict(classes=["car", "car"]), "classes"),
        (dict(classes=["car", "\ud800"]), "classes"),
        (dict(nms=dict(type="nms", iou_threshold=math.nan)), "nms"),
        (dict(nms=dict(type="nms", iou_threshold=True)), "nms"),
        (dict(nms=dict(type="soft_nms", iou_threshold=0.5)), "nms"),
        (dict(nms=dict(type="nms", iou_threshold=0.5, max_num=3)), "nms"),
        (dict(nms_pre=-2), "nms_pre"),
        (dict(trained_on=dict(side_px=[1, "2"])), "trained_on"),
        (dict(data=dict(clip_length=0)), "data"),
        (dict(data=dict(preset="other")), "data"),
        (dict(data=dict(reading=dict(nothing=1))), "data"),
        (dict(data=dict(reading=[1])), "data"),
        (dict(data=dict(class_set=3)), "data"),
        (dict(precision="int4"), "precision"),
        (dict(states=[dict(name="a", shape=[1, 2], dtype="float32")]), "states"),
        (dict(states=[dict(name="a", shape=[1, 2, 3], dtype="float32")] * 2), "states"),
    ],
)
def test_values_inside_entries_are_checked(change, word, tmp_path):
    with pytest.raises(InputError, match=word):
        from_json(DESCRIPTION.as_json() | change, tmp_path / "d.onnx")


def test_a_description_nested_too_deeply_is_refused(path):
    def bury(model):
        model.metadata_props[0].value = "[" * 100_000

    with pytest.raises(InputError, match="description is damaged"):
        read_description(rewritten(path, bury))


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 12))
def test_a_flipped_bit_is_noticed_wherever_it_is(path, share):
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"d.onnx: (is damaged|not an ONNX file|holds no descrip)"):
        EventInferencer(path)


def test_a_file_without_a_seal_and_one_saved_again_are_read(path):
    """Earlier versions wrote no seal; the package onnx keeps it where nothing changes."""
    onnx.save(onnx.load(path), path)
    assert read_description(path) == DESCRIPTION
    rewritten(path, lambda model: None, seal=False)
    assert read_description(path) == DESCRIPTION


def test_a_file_that_was_changed_on_purpose_can_be_sealed_again(path):
    """As by a program that simplifies graphs and keeps the metadata."""
    model = onnx.load(path)
    model.doc_string = "simplified"
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"on purpose: python -m etram_mmdet.deploy.reseal .*d.on"):
        read_description(path)
    reseal(path)
    assert read_description(path) == DESCRIPTION
    assert onnx.load(path).doc_string == "simplified"
    assert [each.key for each in onnx.load(path).metadata_props].count(SEAL_KEY) == 1


def test_a_file_that_describes_no_detector_is_not_sealed(tmp_path):
    path = tmp_path / "other.onnx"
    onnx.save(onnx.ModelProto(ir_version=8), path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"other\.onnx: holds no description of a detector"):
        reseal(path)
    assert path.read_bytes() == before


def test_bytes_behind_the_seal_are_noticed(path):
    path.write_bytes(path.read_bytes() + onnx.ModelProto(domain="x").SerializeToString())
    with pytest.raises(InputError, match="is damaged, or another program has changed it"):
        read_description(path)


def outside(model):
    """Let a weight lie in another file."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="inside.bin")


def outside_in_a_node(model):
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["more"], value=tensor))


def outside_in_a_function(model):
    """As the default of an attribute."""
    outside_in_a_node(model)
    attribute = model.graph.node.pop().attribute[0]
    model.functions.add(name="f", domain="d").attribute_proto.append(attribute)


@pytest.mark.parametrize("change", [outside, outside_in_a_node, outside_in_a_function])
def test_weights_in_other_files_are_never_opened(path, change):
    (path.parent / "inside.bin").write_bytes(bytes(1000))
    with pytest.raises(InputError, match="weights lie in another file, which is never opened"):
        EventInferencer(rewritten(path, change))


def inside(number: int, content: bytes) -> bytes:
    """A field of a message."""
    length = len(content)
    return bytes([number * 8 + 2, length & 127 | 128, length >> 7]) + content


@pytest.mark.parametrize("levels", [1, 60])
def test_graphs_in_graphs_end_somewhere(tmp_path, levels):
    """A node's attribute may hold a graph; a file of somebody else could go on for ever."""
    content = b""
    for _ in range(levels):
        content = inside(1, inside(5, inside(6, content)))
    (tmp_path / "d.onnx").write_bytes(inside(7, content))
    if levels == 1:
        return check_self_contained(tmp_path / "d.onnx")
    with pytest.raises(InputError, match="not an ONNX file"):
        check_self_contained(tmp_path / "d.onnx")


def lose_output(model):
    del model.graph.output[-1]


def swap_states(model):
    inputs = list(model.graph.input)
    del model.graph.input[:]
    model.graph.input.extend([inputs[0], *inputs[:0:-1]])


def swap_outputs(model):
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(outputs[::-1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", [lose_output, swap_states, swap_outputs])
def test_another_graph_than_the_described_one_is_refused(path, change, backend):
    with pytest.raises(InputError, match=r"d.onnx: its graph has .*, expected .*export the check"):
        EventInferencer(rewritten(path, change), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "changes",
    [
        dict(states=()),
        dict(states=DESCRIPTION.states[::-1]),
        dict(classes=("car",)),
        dict(classes=("car", "bus", "tram"), palette=((0, 0, 0),) * 3),
        dict(batch=None),
        dict(batch=2),
    ],
)
def test_another_description_than_that_of_the_graph_is_refused(tmp_path, changes, backend):
    path = write_tiny(tmp_path / "d.onnx", tiny_model(), **changes)
    with pytest.raises(InputError, match=r"d.onnx: its graph has .*, expected"):
        EventInferencer(path, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_that_are_not_finite_end_the_stream(tmp_path, backend):
    model = tiny_model(objectness=np.array([[np.nan]], np.float32))
    inferencer = EventInferencer(write_tiny(tmp_path / "d.onnx", model), backend=backend)
    with pytest.raises(InputError, match="scores that are not finite"):
        inferencer.detect(np.zeros(DESCRIPTION.frame_shape, np.uint8))


def test_a_graph_that_fails_while_it_runs_is_a_sentence(path, monkeypatch):
    inferencer = EventInferencer(path)
    monkeypatch.setattr(inferencer.engine, "network", lambda *_: 1 / 0)
    with pytest.raises(InputError, match=r"OnnxEngine cannot run the graph \(division by zero\)"):
        inferencer.detect(np.zeros(DESCRIPTION.frame_shape, np.uint8))


def test_an_engine_s_words_are_cut():
    error = RuntimeError("Exception from src/core.cpp:84:\nException from a:\n" + "why " * 500)
    assert cause_of(error) == ("why " * 50)
    assert cause_of(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    ("told", "threads"),
    [("1", 1), ("1,2", 1), (" 1 ", 1), ("", 0), ("abc", 0), ("-1", 0), ("1e3", 0), ("2.0", 0)],
)
def test_numbers_of_threads_are_read_as_openmp_reads_them(told, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert stated_threads() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "9" * 20)
    assert stated_threads() == os.cpu_count()


def test_a_file_that_may_not_be_read_is_not_called_damaged(path, monkeypatch):
    def forbid(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(onnx_metadata.Path, "open", forbid)
    with pytest.raises(InputError, match="permission denied"):
        read_description(path)


@pytest.mark.parametrize(
    "options",
    [
        dict(score_thr=-0.1),
        dict(score_thr=math.nan),
        dict(score_thr="x"),
        dict(step_us=0),
        dict(step_us=-5),
        dict(step_us=0.5),
        dict(step_us="5"),
        dict(backend=["onnx"]),
        dict(backend="Onnx"),
    ],
)
def test_options_out_of_range_are_refused(path, options):
    with pytest.raises(InputError, match=f"{next(iter(options))}=.*, expected"):
        EventInferencer(path, **options)


def test_states_and_streams_of_others_are_refused(path):
    inferencer = EventInferencer(path)
    image = np.zeros(DESCRIPTION.frame_shape, np.uint8)
    boxes, states = inferencer.step(image, None)
    assert len(boxes) == 1 and len(states) == 2
    for wrong in (states[:1], states[::-1], tuple(each.astype("f8") for each in states), (1, 2)):
        with pytest.raises(InputError, match=r"states are not those .*2 arrays"):
            inferencer.step(image, wrong)
    with pytest.raises(InputError, match="frames of object"):
        inferencer.detect(None)
    for size in (0, -1, 1.5, "3", True):
        with pytest.raises(InputError, match="expected a whole number of at least 1"):
            inferencer.batch(size)
    batch = inferencer.batch(1)
    for stream in (1, -1, "0"):
        with pytest.raises(InputError, match="expected a number from 0 to 0"):
            batch.look({stream: image})
        with pytest.raises(InputError, match="expected a number from 0 to 0"):
            batch.reset(stream)


# Writing


def test_an_earlier_file_stays_readable_whenever_an_export_dies(path, monkeypatch):
    """At every step between the two files: before the graph's name changes, and before the JSON."""
    changed = dict(score_thr=0.5)
    for name, expected in (("write_sidecar", 0.5), ("atomic_write", 0.001)):
        write_tiny(path)

        def die(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(onnx_file, name, die)
            write_tiny(path, **changed)
        assert read_description(path).score_thr == expected
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(InputError, match="classes"):
        write_tiny(tmp_path / "d.onnx", classes=("car", "\n"))
    assert not list(tmp_path.iterdir())


def test_a_json_file_of_somebody_else_is_not_overwritten(tmp_path):
    mine = tmp_path / "d.json"
    for content in ('{"frames": []}', "[1]", "no JSON"):
        mine.write_text(content)
        with pytest.raises(InputError, match=r"d.json: .*write d.onnx under another name"):
            write_tiny(tmp_path / "d.onnx")
        assert mine.read_text() == content and not (tmp_path / "d.onnx").exists()
    mine.write_text(json.dumps(DESCRIPTION.as_json()))
    check_sidecar_free(tmp_path / "d.onnx")


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(InputError, match="it is a folder; name a file"):
        check_writable(tmp_path)


def test_a_recording_shorter_than_a_window_cannot_calibrate(path, tmp_path):
    one = {name: column[:1] for name, column in make_events().items()}
    short = write_events(tmp_path / "one.h5", one)
    with pytest.raises(InputError, match=r"one.h5: ends before its first window of 50 ms"):
        list(calibration_inputs(engines.OnnxEngine(path), [short]))
    check_recordings([short])
    with pytest.raises(InputError, match="no such recording"):
        check_recordings([tmp_path / "none.h5"])


def test_inputs_are_never_outputs(path, tmp_path):
    """Recording, model, its JSON and thresholds, also by another name."""
    recording = tmp_path / "r.npz"
    np.savez(recording, **make_events())
    (tmp_path / "link.npz").symlink_to(recording)
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    names = dict(recording=recording, checkpoint=path, config=None, operating_points=None)
    inputs = inputs_of(argparse.Namespace(**names))
    for out in (recording, tmp_path / "link.npz", path, sidecar_of(path)):
        with pytest.raises(InputError, match=f"{out.name}: is read by this command"):
            check_not_read(out, inputs)
    check_not_read(tmp_path / "new.csv", [*inputs, tmp_path / "absent"])
    words = ("tools/detect.py", path, recording, "--out", sidecar_of(path))
    assert "d.json: is read by this command" in run(*words, ok=False)
    for tool in ("convert_recording", "convert_labels"):
        said = run(f"tools/{tool}.py", recording, recording, ok=False)
        assert "r.npz: is read by this command" in said
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_predictions_without_truth_ask_for_it(path, tmp_path):
    recording = write_events(tmp_path / "r.h5", make_events())
    run("tools/detect.py", path, recording, "--out", tmp_path / "p.json")
    said = run("tools/evaluate.py", tmp_path / "p.json", ok=False)
    assert "p.json: holds no box of ground truth" in said and "--config CONFIG" in said


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_options_take_finite_numbers(text, capsys):
    parser = make_parser("A tool.")
    parser.add_argument("--start-s", type=float)
    parser.add_argument("--speed", type=any_number)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--start-s={text}"])
    assert f"argument --start-s: expected a finite number, got {text}" in capsys.readouterr().err
    assert parser.parse_args(["--start-s", "1e3", "--speed", "inf"]).speed == math.inf


def test_a_part_without_a_window_is_said():
    tally = Tally(OperatingPoints.common(("car",), 0.3))
    assert "no window ends in this part of the recording" in str(tally)
