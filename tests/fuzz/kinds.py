"""Kinds of files: how to make a valid one, and everything that reads it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.apis.inference import load_operating_points
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.engine.checkpoints.carried_config import evaluation_config, stored_config
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.checkpoints.files import load_foreign_weights, restore_histories
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.resumable import check_complete
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.operating_points.report import points_as_config
from etram_mmdet.evaluation.predictions import load_predictions, save_predictions
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.label_formats import LABEL_FORMATS
from etram_mmdet.events.label_formats.convert import write_labels
from etram_mmdet.events.label_formats.label_table import from_boxes
from etram_mmdet.events.labels import load_boxes, load_label_times
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.labelled_frames import find_frames, refuse_quiet
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.source_changes import changed_labels
from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import WRITERS
from tests.helpers.raw import HEIGHT, WIDTH, make_boxes, make_events, write_recording

CLASSES = ("pedestrian", "car")
TIMES_US = np.arange(1, 8) * 33_333


class Kind(NamedTuple):
    """``make`` writes a valid file below a folder and returns its path, which ``readers`` take.

    A reader may raise ``InputError`` and nothing else.
    """

    name: str
    make: Callable[[Path], Path]
    readers: tuple[Callable[[Path], object], ...]


# Recordings


def read_windows(path: Path) -> tuple:
    """Read a recording as preprocessing and streams do.

    These read windows of 50 ms, then the remaining events, and all counts and notes.
    """
    with open_recording(path) as recording:
        for number in range(3):
            start_us = recording.t_first_us + number * 50_000
            recording.read(start_us, start_us + 50_000)
        recording.read_rest()
        return (
            recording.num_events,
            recording.t_last_us,
            recording.clock_start_us,
            recording.dropped,
        )


def read_sorted(path: Path) -> None:
    with open_recording(path, time_unit="ms", sort=True) as recording:
        recording.read(recording.t_first_us, recording.t_first_us + 50_000)


def _recording(name: str) -> Kind:
    suffix, write = WRITERS[name]
    return Kind(
        name,
        lambda folder: write(folder / f"a_td{suffix}", make_events(1500)),
        (read_windows, read_sorted),
    )


def _aedat4() -> list[Kind]:
    """AEDAT 4, from a real file, since this package cannot write one.

    The environment variable ETRAM_AEDAT4 names the file; faery's source distribution has one.
    """
    real = os.environ.get("ETRAM_AEDAT4")
    if not real or find_spec("aedat") is None:
        return []
    return [
        Kind(
            "AEDAT 4",
            lambda folder: Path(shutil.copy(real, folder / "a.aedat4")),
            (read_windows, read_sorted),
        )
    ]


# Labels and folders


def _raw_folder(folder: Path) -> Path:
    boxes = make_boxes(np.repeat(TIMES_US, 2), class_id=np.tile([0, 2], len(TIMES_US)))
    boxes["h"][::5] = 3  # too small: ignored
    recording = write_recording(folder / "raw" / "train", "a", make_events(1500), boxes)
    np.save(recording.with_name("a_label_times.npy"), TIMES_US[::2])
    return folder / "raw"


def _label_file(name: str) -> Callable[[Path], Path]:
    return lambda folder: _raw_folder(folder) / "train" / name


def _labels_in(format_name: str, name: str, damaged: str) -> Kind:
    """Labels in a format of another program, and which of their files is damaged."""

    def make(folder: Path) -> Path:
        train = _label_file("a_bbox.npy")(folder).parent
        boxes = load_boxes(train / "a_bbox.npy")
        table = from_boxes(boxes, ETRAM8, load_label_times(train / "a_bbox.npy"), (WIDTH, HEIGHT))
        for file in train.glob("*.npy"):
            file.unlink()
        write_labels(table, train / name, LABEL_FORMATS[format_name])
        return next(train.glob(damaged))

    return Kind(f"{format_name} {Path(damaged).name}", make, (find_labelled_frames,))


def find_labelled_frames(path: Path) -> None:
    """As preprocessing and training from recordings do."""
    settings = PreprocessSettings(
        class_set="etram8", drop_unknown_classes=True, interpolate_labels=True
    )
    (source,), problems = find_sources(_root_of(path) / "raw")
    with open_recording(source.events) as recording:
        found = find_frames(recording, source, settings)
        refuse_quiet(recording, source, found)
    changed_labels(source, dict(source_files={}, source_digests={}))
    str((found, problems)).encode()


def preprocess(path: Path) -> None:
    """The whole way of a recording with these labels into a sequence folder."""
    root = path.parent.parent
    summary = preprocess_folder(root, root.parent / "out", overwrite=True, keep_implausible=True)
    str(summary).encode()
    _refuse_problems(summary)


def _refuse_problems(summary) -> None:
    if any("Traceback" in problem for problem in summary.problems):
        raise AssertionError(summary.problems)
    if summary.problems:
        raise InputError("; ".join(summary.problems))


def _sequence_file(pattern: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        preprocess_folder(_raw_folder(folder), folder / "out", keep_implausible=True)
        sequence = folder / "out" / "train" / "a"
        _take_checksums(sequence)
        return next(sequence.glob(pattern))

    return make


def _take_checksums(sequence: Path) -> None:
    """Remove the checksums, as RVT and earlier versions write folders.

    Damage then reaches the code behind them.
    """
    manifest = json.loads((sequence / "sequence.json").read_text())
    manifest.pop("crc32", None)
    (sequence / "sequence.json").write_text(json.dumps(manifest))
    with h5py.File(next(sequence.glob("event_representations_v2/*/*.h5")), "r+") as file:
        file.pop("data_crc32", None)


def _root_of(path: Path) -> Path:
    return next(parent for parent in path.parents if (parent / "raw").is_dir())


def train_and_test(path: Path) -> None:
    """Every clip of the folder, as training and as testing read it."""
    for test_mode in (False, True):
        dataset = ETraMDataset(
            str(_root_of(path) / "out"), "train", clip_length=3, test_mode=test_mode
        )
        for index in range(len(dataset)):
            dataset[index]
            dataset.get_data_info(index)
        dataset.box_statistics()


def census(path: Path) -> None:
    take_census(_root_of(path) / "out", settings=PreprocessSettings())


def preprocess_again(path: Path) -> None:
    """A second start finds the folder finished, or says what is wrong with it."""
    summary = preprocess_folder(_root_of(path) / "raw", _root_of(path) / "out")
    str(summary).encode()
    _refuse_problems(summary)


def _sequence(name: str, pattern: str) -> Kind:
    return Kind(name, _sequence_file(pattern), (train_and_test, census, preprocess_again))


# Results


def _predictions(folder: Path, name: str = "p.json") -> Path:
    random = np.random.default_rng(0)
    frames = []
    for number in range(4):
        corners = random.uniform(0, 12, (3, 2)).astype(np.float32)
        boxes = np.hstack([corners, corners + np.float32(9)])
        labels = np.array([0, 1, 1])
        scores = random.random(3).astype(np.float32)
        found = Boxes(boxes, labels, scores=scores, class_scores=scores)
        frames.append(FrameResult("a", 100_000 * number, Boxes(boxes, labels), found, 2, (24, 32)))
    save_predictions(folder / name, frames, CLASSES, dict(score_thr=0.001))
    return folder / name


def _npz_predictions(folder: Path) -> Path:
    return _predictions(folder, "p.npz")


def read_predictions(path: Path) -> None:
    for with_truth in (True, False):
        saved = load_predictions(path, with_truth)
        for frame in saved.frames:
            OperatingPoints.common(saved.classes, 0.3).apply(frame)


def _operating_points(folder: Path) -> Path:
    points = OperatingPoints(
        CLASSES, np.array([[0.3, 0.4], [0.5, 0.6]]), np.array([0.5, 1.0]), (32.0,)
    )
    path = folder / "operating_points.py"
    path.write_text(points_as_config(points, ["Made by hand."]))
    return path


def read_operating_points(path: Path) -> None:
    points = OperatingPoints.from_config(load_operating_points(path), CLASSES)
    boxes = Boxes(
        np.array([[0, 0, 9, 9]], np.float32), np.array([1]), scores=np.array([0.5], np.float32)
    )
    points.keep(boxes, 2)
    str(points.as_config()).encode()


def _checkpoint(folder: Path) -> Path:
    weights = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}
    history = dict(values=torch.ones(2), counts=torch.ones(2, dtype=torch.int64), max_length=10)
    moments = {
        n: dict(step=torch.tensor(2.0), exp_avg=w, exp_avg_sq=w)
        for n, w in enumerate(weights.values())
    }
    config = dict(
        model=dict(type="RecurrentDetector", test_cfg=dict(score_thr=0.1)), class_set="etram8"
    )
    content = dict(
        meta={
            "epoch": 0,
            "iter": 2,
            "seed": 1,
            "dataset_meta": dict(classes=CLASSES),
            CONFIG_KEY: json.dumps(config),
        },
        state_dict=weights,
        message_hub=dict(
            log_scalars={"train/loss": history},
            runtime_info=dict(iter=2, run="abc", last_ckpt="iter_2.pth"),
            resumed_keys={"train/loss": True},
        ),
        optimizer=dict(
            state=moments, param_groups=[dict(lr=0.1, betas=(0.9, 0.99), params=[0, 1])]
        ),
        param_schedulers=[dict(last_step=2, _global_step=2, total_steps=4)],
    )
    torch.save(content, folder / "iter_2.pth")
    return folder / "iter_2.pth"


def read_checkpoint(path: Path) -> None:
    content = load_checkpoint_file(path)
    check_complete(content, path)
    restore_histories(content)


def read_carried_config(path: Path) -> None:
    evaluation_config(stored_config(load_checkpoint_file(path), path), path)


ALL = (
    *map(_recording, WRITERS),
    *_aedat4(),
    Kind("label file", _label_file("a_bbox.npy"), (preprocess,)),
    _labels_in("coco", "a.json", "a.json"),
    _labels_in("cvat", "a.xml", "a.xml"),
    _labels_in("csv", "a.csv", "a.csv"),
    _labels_in("mot", "a.txt", "a.txt"),
    _labels_in("mot", "a.txt", "a_frames.csv"),
    _labels_in("yolo", "a", "a/frame_000000002.txt"),
    Kind("label times", _label_file("a_label_times.npy"), (preprocess,)),
    _sequence("sequence.json", "sequence.json"),
    _sequence("labels.npz", "labels_v2/labels.npz"),
    _sequence("label timestamps", "labels_v2/timestamps_us.npy"),
    _sequence("frame timestamps", "event_representations_v2/*/timestamps_us.npy"),
    _sequence("frame indices", "event_representations_v2/*/objframe_idx_2_repr_idx.npy"),
    _sequence("ignored boxes", "ignored_boxes.npy"),
    _sequence("representation", "event_representations_v2/*/*.h5"),
    Kind("predictions", _predictions, (read_predictions,)),
    Kind("predictions npz", _npz_predictions, (read_predictions,)),
    Kind("operating points", _operating_points, (read_operating_points,)),
    Kind("checkpoint", _checkpoint, (read_checkpoint, read_carried_config, load_foreign_weights)),
)
KINDS = {kind.name: kind for kind in ALL}
