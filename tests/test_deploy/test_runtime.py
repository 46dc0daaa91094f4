"""An exported detector follows recordings as its checkpoint does, with and without PyTorch."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import onnx
import pytest

from etram_mmdet.apis import EventInferencer
from etram_mmdet.deploy import runtime
from etram_mmdet.deploy.description import read_description
from etram_mmdet.deploy.export.int8 import quantize
from etram_mmdet.engine.checkpoints.release import digest
from etram_mmdet.events.formats import open_recording
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import run
from tests.helpers.paths import ROOT
from tests.helpers.raw import make_events, write_events
from tests.helpers.same_boxes import Found, assert_same_boxes

# A runtime needs NumPy, numba and onnxruntime; these must not even be looked for.
ABSENT = """
    torch torchvision mmdet mmcv mmengine h5py hdf5plugin blosc cv2 matplotlib scipy pycocotools
    faster_coco_eval tqdm skimage onnx onnxscript openvino pandas PIL
""".split()


@pytest.fixture(scope="module")
def checkpoint(trained):
    return trained[0] / "iter_4.pth"


@pytest.fixture(scope="module")
def graph(checkpoint, tmp_path_factory):
    """The checkpoint as a graph for any number of streams."""
    path = tmp_path_factory.mktemp("exported") / "detector.onnx"
    output = run("tools/export.py", checkpoint, path, "--batch", "free")
    assert "detector.onnx: " in output and "frames: 20x32x48 uint8 of a sensor of 96x64" in output
    return path


@pytest.fixture(scope="module")
def recording(raw_sample):
    return next((raw_sample / "val").glob("val_day_0000*.h5"))


def columns(boxes):
    return Found(boxes.bboxes_xyxy, boxes.scores, boxes.labels)


def test_the_description_names_the_checkpoint_and_its_settings(graph, checkpoint):
    description = read_description(graph)
    model = EventInferencer(checkpoint, device="cpu")
    assert description.checkpoint == dict(name="iter_4.pth", sha256=digest(checkpoint))
    assert description.classes == model.classes and description.step_us == model.step_us
    assert description.sensor_px == (96, 64) and description.batch is None
    assert {"torch", "onnx", "numpy"} <= description.versions.keys()
    # without the fields of a graph it is the checkpoint's own
    assert description.data == model.description.data
    assert description.nms == model.description.nms


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_windows_are_those_of_the_checkpoint(graph, checkpoint, recording, backend):
    expected = EventInferencer(checkpoint, device="cpu", score_thr=0.0)
    ours = EventInferencer(graph, score_thr=0.0, backend=backend)
    for one, other in zip(expected.windows(recording), ours.windows(recording), strict=True):
        assert one.t_us == other.t_us and np.array_equal(one.image, other.image)
        assert_same_boxes(columns(other.seen), columns(one.seen))
        assert_same_boxes(columns(other.boxes), columns(one.boxes))


def test_windows_of_labels_are_those_of_the_checkpoint(graph, checkpoint, recording):
    labels = recording.with_name("val_day_0000_bbox.npy")
    with open_recording(recording) as opened:
        both = (EventInferencer(model) for model in (graph, checkpoint))
        ours, theirs = (list(each.times(opened, labels=labels)) for each in both)
    assert ours == theirs and len(ours) > 5


def test_reset_begins_a_stream_and_a_skipped_window_leaves_the_state(graph, recording):
    inferencer = runtime.EventInferencer(graph, score_thr=0.0)
    images = [window.image for window in inferencer.windows(recording)]
    first, second = inferencer.detect(images[9]), inferencer.detect(images[9])
    assert not np.array_equal(first.scores, second.scores)
    inferencer.reset()
    assert np.array_equal(inferencer.detect(images[9]).scores, first.scores)
    # a stream that misses a window is one to which the window never happened
    streams = [inferencer.new_stream() for _ in range(2)]
    found = [
        [stream.look(images[k]).scores for k in steps]
        for stream, steps in zip(streams, ((0, 1, 3), (0, 1, 2, 3)), strict=True)
    ]
    assert np.array_equal(found[0][1], found[1][1])
    assert not np.array_equal(found[0][2], found[1][3])


@pytest.mark.parametrize("kind", ["torch", "onnx", "openvino"])
def test_a_batch_of_streams_gives_what_each_gives_alone(graph, checkpoint, recording, kind):
    """Three cameras of which one pauses and one begins anew; the last call holds one image."""
    inferencer = EventInferencer(
        checkpoint if kind == "torch" else graph, device="cpu", score_thr=0.0, backend=kind
    )
    images = [window.image for window in inferencer.windows(recording)]
    due = [
        {0: images[0], 1: images[5]},
        {0: images[1], 1: images[6], 2: images[9]},
        {1: images[7], 2: images[10]},
        {0: images[2]},
    ]
    batch = inferencer.batch(3)
    alone = [inferencer.new_stream() for _ in range(3)]
    for number, call in enumerate(due):
        if number == 2:
            batch.reset(1)
            alone[1].reset()
        found = batch.look(call)
        assert found.keys() == call.keys() and len(batch) == 3
        for stream, image in call.items():
            assert_same_boxes(columns(found[stream]), columns(alone[stream].look(image)))
    assert batch.look({}) == {} and batch.detect({}) == {}


def test_a_graph_for_one_stream_refuses_more(checkpoint, tmp_path):
    run("tools/export.py", checkpoint, tmp_path / "one.onnx", "--opset", 18)
    inferencer = runtime.EventInferencer(tmp_path / "one.onnx")
    with pytest.raises(InputError, match="a batch of 4 streams, but the graph takes 1 in every"):
        inferencer.batch(4)
    assert len(inferencer.batch(1)) == 1 and inferencer.description.opset == 18


def test_a_sensor_of_another_size_is_a_sentence(graph, tmp_path):
    write_events(tmp_path / "small.h5", make_events())
    inferencer = runtime.EventInferencer(graph)
    with pytest.raises(InputError, match=r"64x48 pixels, but .* takes 96x64; export .* 64 48"):
        next(inferencer.windows(tmp_path / "small.h5"))
    with pytest.raises(
        InputError, match=r"frames of uint8 \(1, 20, 8, 8\), expected uint8 \(1, 20"
    ):
        inferencer.detect(np.zeros((20, 8, 8), np.uint8))


def test_eight_bits_keep_the_boxes_near(graph, checkpoint, recording, tmp_path):
    run("tools/export.py", checkpoint, tmp_path / "8.onnx", "--int8", recording)
    small = read_description(tmp_path / "8.onnx")
    assert small.precision == "int8"
    kinds = [node.op_type for node in onnx.load(tmp_path / "8.onnx").graph.node]
    assert "Cast" not in kinds[: kinds.index("Conv")]  # the frames stay bytes
    whole = list(runtime.EventInferencer(graph, score_thr=0.0).windows(recording))
    quantized = list(runtime.EventInferencer(tmp_path / "8.onnx", score_thr=0.0).windows(recording))
    gaps = [abs(a.seen.scores[0] - b.seen.scores[0]) for a, b in zip(whole, quantized, strict=True)]
    assert 0 < max(gaps) < 0.1 * max(window.seen.scores[0] for window in whole)
    with pytest.raises(InputError, match="is in int8, expected float32"):
        quantize(tmp_path / "8.onnx", [recording])


def test_options_of_pytorch_are_refused(graph, recording, tmp_path):
    words = ["tools/detect.py", graph, recording, "--out", tmp_path / "x.csv"]
    said = run(*words, "--fuse", "--precision", "bfloat16", ok=False)
    assert "is an exported detector, so --precision, --fuse cannot be chosen" in said
    with pytest.raises(
        InputError, match=r"backend='onnx' runs files of tools/export.py, not a che"
    ):
        EventInferencer("demo", backend="onnx")


def test_detecting_needs_no_pytorch(graph, checkpoint, recording, tmp_path):
    """The tool gives the checkpoint's table; the runtime imports nothing of training."""
    run("tools/detect.py", graph, recording, "--out", tmp_path / "x.csv", "--score-thr", 1e-5)
    run("tools/detect.py", checkpoint, recording, "--out", tmp_path / "t.csv", "--score-thr", 1e-5)
    tables = [list(csv.reader((tmp_path / f"{name}.csv").open())) for name in "xt"]
    assert tables[0][0] == tables[1][0] and abs(len(tables[0]) - len(tables[1])) < 20
    run("tools/convert_recording.py", recording, tmp_path / "r.npz")
    code = f"""
import sys
for name in {ABSENT}:
    sys.modules[name] = None
from etram_mmdet.deploy.runtime import EventInferencer
inferencer = EventInferencer({str(graph)!r}, score_thr=1e-5)
found = [len(boxes) for _, boxes in inferencer.stream({str(tmp_path / "r.npz")!r})]
print(len(found), sum(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    windows, boxes = map(int, done.stdout.split())
    assert windows == 39 and abs(boxes - len(tables[0]) + 1) < 20


def test_the_proof_of_agreement_runs(graph, checkpoint, raw_sample, sample):
    """Maps, boxes before and after NMS, and AP; at full size: docs/benchmarks.md."""
    words = (checkpoint, raw_sample, sample, graph, "--windows", 8)
    told = run("tests/proofs/exported_agreement.py", *words).splitlines()
    of_torch, of_graph = told[-2].split(), told[-1].split()
    assert of_torch[1:3] == ["torch", "8"] and of_graph[1:3] == ["onnx", "8"]
    state, px, objectness, class_score, same, ap, _ = map(_number, of_graph[3:])
    assert state < 1e-4 and px < 0.01 and objectness < 1e-5 and class_score < 1e-5
    assert same >= 0.999 and abs(ap - float(of_torch[-1])) < 0.0005


def _number(word: str) -> float:
    return float(word.strip("()"))
