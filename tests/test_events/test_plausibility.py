"""Wrong labels are reported with the option that corrects them; right ones are not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.frame_times import select_frames
from etram_mmdet.events.preprocessing.plausibility.frames import (
    differing_rates,
    doubts_about_frames,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from tests.helpers.encoders import write_evt3
from tests.helpers.raw import make_boxes, write_events
from tests.helpers.street import make_street

SHIFT_US = 200 * 4096  # a whole TIME_HIGH of EVT 3.0


def preprocess(
    root: Path, events: dict, boxes: np.ndarray, raw: bool = False, keep: bool = False, **options
):
    """Summary of a training folder with one recording, and the bytes of its sequence folder."""
    folder = root / "raw" / "train"
    folder.mkdir(parents=True)
    (write_evt3(folder / "a.raw", events) if raw else write_events(folder / "a_td.h5", events))
    np.save(folder / "a_bbox.npy", boxes)
    summary = preprocess_folder(
        root / "raw", root / "out", PreprocessSettings(**options), keep_implausible=keep
    )
    made = root / "out" / "train" / "a"
    files = {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*.[nh][p5]*")}
    if "labels_v2/labels.npz" in files:  # the archive itself holds the time at which it was written
        files["labels_v2/labels.npz"] = np.load(made / "labels_v2/labels.npz")["labels"].tobytes()
    return summary, files


def changed(boxes: np.ndarray, **fields) -> np.ndarray:
    boxes = boxes.copy()
    for name, change in fields.items():
        boxes[name] = change(boxes)
    return boxes


def events_times(events: dict, factor: float) -> dict:
    return events | dict(t=(events["t"] * factor).astype(np.int64))


def by_column(events: dict, column: str) -> dict:
    order = np.argsort(events[column], kind="stable")
    return {name: values[order] for name, values in events.items()}


# Change of events and boxes, expected sentence, and the settings that correct it.
FAULTS = {
    "labels in ms": (
        lambda e, b: (e, changed(b, t=lambda b: b["t"] // 1000)),
        r"there are 30,303 labels a second; likely cause: label times are in milliseconds; "
        r"use --label-time-unit ms",
        dict(label_time_unit="ms"),
    ),
    "labels in ns": (
        lambda e, b: (e, changed(b, t=lambda b: b["t"] * 1000)),
        r"after the last event, up to 4,361 s; likely cause: label times are in nanoseconds; "
        r"use --label-time-unit ns",
        dict(label_time_unit="ns"),
    ),
    "events in ms": (
        lambda e, b: (events_times(e, 1e-3), b),
        r"after the last event, up to 4\.361 s; likely cause: event times are in milliseconds; "
        r"use --event-time-unit ms",
        dict(event_time_unit="ms"),
    ),
    "events in ns": (
        lambda e, b: (events_times(e, 1000), b),
        r"labels cover 0\.0\d* % of a recording of 4,999 s; likely cause: event times are in "
        r"nanoseconds; use --event",
        dict(event_time_unit="ns"),
    ),
    "all in ms": (
        lambda e, b: (events_times(e, 1e-3), changed(b, t=lambda b: b["t"] // 1000)),
        "likely cause: all times are in milliseconds; "
        "use --event-time-unit ms --label-time-unit ms",
        dict(event_time_unit="ms", label_time_unit="ms"),
    ),
    "all in ns": (
        lambda e, b: (events_times(e, 1000), changed(b, t=lambda b: b["t"] * 1000)),
        "there is one label every 33 s .* all times are in nanoseconds; "
        "use --event-time-unit ns --label-time-unit ns",
        dict(event_time_unit="ns", label_time_unit="ns"),
    ),
    "labels late by 0.5 s": (
        lambda e, b: (e, changed(b, t=lambda b: b["t"] + 500_000)),
        r"if the labels are shifted by -0\.5 s; likely cause: their clock is off; "
        r"use --label-offset-us -500000",
        dict(label_offset_us=-500_000),
    ),
    "one label nine hours late": (
        lambda e, b: (e, np.append(b, make_boxes([9 * 3600 * 1_000_000], class_id=1))),
        r"1 of \d+ label times lie after the last event, up to 32,400 s "
        r"\(row \d+ of a_bbox\.npy, t = 32400000000\); .* --drop-labels-outside",
        dict(drop_labels_outside=True),
    ),
    "two corners": (
        lambda e, b: (e, changed(b, w=lambda b: b["x"] + b["w"], h=lambda b: b["y"] + b["h"])),
        r"of the boxes reach over the sensor of 64x48, and \d+ % have w > x .* two corners; "
        r"use --box-format xyxy",
        dict(box_format="xyxy"),
    ),
    "centres": (
        lambda e, b: (
            e,
            changed(b, x=lambda b: b["x"] + b["w"] / 2, y=lambda b: b["y"] + b["h"] / 2),
        ),
        r"moving boxes hold .* if x and y are read as box centres; .* use --box-format cxcywh",
        dict(box_format="cxcywh"),
    ),
    "ordered by pixel": (
        lambda e, b: (by_column(e, "x"), b),
        r"\d\d\.\d% of \d+ events were dropped or corrected, expected at most 1% .* --sort-events",
        dict(sort_events=True),
    ),
    "on events first": (
        lambda e, b: (by_column(e, "p"), b),
        r"\d\d\.\d% of \d+ events were dropped or corrected, expected at most 1% .* --sort-events",
        dict(sort_events=True),
    ),
}


@pytest.fixture(scope="module")
def street() -> tuple[dict, np.ndarray]:
    """Labelled from 0.6 to 4.4 of 5 seconds, so that a shift leaves no label outside."""
    events, boxes = make_street(5.0)
    return events, boxes[(boxes["t"] > 600_000) & (boxes["t"] < 4_400_000)]


@pytest.fixture(scope="module")
def right(street, tmp_path_factory) -> dict:
    summary, files = preprocess(tmp_path_factory.mktemp("right"), *street)
    assert not summary.problems and len(files) == 6
    assert summary.manifests[0]["frames_per_s"] == pytest.approx(10)
    return files


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_problem_and_the_option_that_it_names_mends_it(street, right, tmp_path, fault):
    spoil, sentence, options = FAULTS[fault]
    events, boxes = spoil(*street)
    summary, files = preprocess(tmp_path / "wrong", events, boxes)
    (problem,) = summary.problems
    assert re.search(sentence, problem) and files == {}
    summary, files = preprocess(tmp_path / "mended", events, boxes, **options)
    assert not summary.problems
    assert files == right


def test_labels_on_metavisions_clock_are_moved_to_the_recordings(street, tmp_path):
    """A RAW file's clock starts anywhere; Metavision's software subtracts the first TIME_HIGH."""
    events, boxes = street
    events = events | dict(t=events["t"] + SHIFT_US)
    right = preprocess(
        tmp_path / "right", events, changed(boxes, t=lambda b: b["t"] + SHIFT_US), raw=True
    )[1]
    summary, _ = preprocess(tmp_path / "wrong", events, boxes, raw=True)
    assert (
        "likely cause: the labels count from the recording's start; use --label-offset-us start"
        in summary.problems[0]
    )
    summary, files = preprocess(
        tmp_path / "mended", events, boxes, raw=True, label_offset_us="start"
    )
    assert not summary.problems and files == right


def test_a_shifted_clock_is_seen_where_no_label_lies_outside(tmp_path):
    events, boxes = make_street(6.0)
    events = events | dict(t=events["t"] + SHIFT_US)
    inside = boxes[(boxes["t"] > 2_000_000)]
    summary, _ = preprocess(tmp_path, events, inside, raw=True)
    (problem,) = summary.problems
    assert "moving boxes hold" in problem and "--label-offset-us start" in problem


def test_jitter_that_the_frame_rule_cannot_take_is_told(street, tmp_path):
    events, boxes = street
    times, place = np.unique(boxes["t"], return_inverse=True)
    jitter = np.random.default_rng(0).integers(-4000, 4000, len(times))
    boxes = changed(boxes, t=lambda b: b["t"] + jitter[place])
    (problem,) = preprocess(tmp_path / "rvt", events, boxes)[0].problems
    assert re.search(
        r"RVT's frame rule keeps only \d of about 38 labels at 10 Hz; .* use --frames all",
        problem,
    )
    summary, _ = preprocess(tmp_path / "all", events, boxes, frames="all")
    assert not summary.problems and summary.manifests[0]["num_frames"] == len(times)


def test_gaps_between_labels_are_no_jitter():
    times = np.concatenate(
        [start + np.arange(1, 31) * 1_000_000 // 30 for start in (0, 5_000_000, 60_000_000)]
    )
    assert not doubts_about_frames(times, select_frames(times, 0, "rvt", 50_000))


STREETS = {
    "one object": dict(objects=1),
    "many objects": dict(objects=30),
    "standing traffic": dict(objects=20, moving=1),
    "all stand": dict(objects=6, moving=0),
    "night noise": dict(objects=2, noise=0.95),
    "short": dict(seconds=0.5),
}


@pytest.mark.parametrize("kind", STREETS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_right_labels_are_no_problem(tmp_path, kind, seed):
    summary, _ = preprocess(tmp_path, *make_street(**STREETS[kind], seed=seed))
    assert not summary.problems and len(summary.manifests) == 1


@pytest.mark.parametrize("folder", ["golden/preprocess/raw", "data/pedro", "data/real/cars346"])
def test_recordings_of_others_are_no_problem(shared, tmp_path, folder):
    summary = preprocess_folder(shared / folder, tmp_path, workers=2)
    assert not summary.problems and summary.manifests


def test_labels_of_another_recording_are_a_problem(tmp_path):
    """Same street, sensor and times: only the surroundings of each box show the exchange."""
    streets = [make_street(4.0, objects=6, seed=seed) for seed in range(4)]
    for index, (events, _) in enumerate(streets):
        summary, _ = preprocess(tmp_path / f"right {index}", events, streets[index][1])
        assert not summary.problems
        summary, files = preprocess(tmp_path / f"wrong {index}", events, streets[index - 1][1])
        (problem,) = summary.problems
        assert re.search(
            r"only \d\d % of the moving boxes hold more events per pixel than their surroundings; "
            r".* another rec",
            problem,
        )
        assert files == {}


@pytest.mark.parametrize("swap", [("train", "train"), ("val", "test")])
def test_swapped_labels_of_simulated_traffic_are_a_problem(raw_sample, tmp_path, swap):
    first, second = (
        sorted((raw_sample / split).glob("*_td.h5"))[-i] for i, split in enumerate(swap, 1)
    )
    for events, labels in ((first, second), (second, first)):
        folder = tmp_path / "raw" / "train"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(events, folder)
        boxes = labels.with_name(labels.name.replace("_td.h5", "_bbox.npy"))
        shutil.copy(boxes, folder / events.name.replace("_td.h5", "_bbox.npy"))
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "out")
    assert (
        len(summary.problems) == 2
        and str(summary).count("likely cause: labels of another recording") == 2
    )


def test_simulated_recordings_are_no_problem(raw_sample, sample, tmp_path):
    """``sample`` is what preprocessing made of ``raw_sample``; inspect_data looks at both."""
    assert take_census(raw_sample).problems == []
    assert take_census(sample).problems == []


def test_what_is_kept_nevertheless_is_told_each_time(street, tmp_path):
    events, boxes = street
    late = np.append(boxes, make_boxes([9_000_000], class_id=1))
    summary, _ = preprocess(tmp_path, events, late, keep=True)
    again = preprocess_folder(tmp_path / "raw", tmp_path / "out")
    for each in (summary, again):
        assert not each.problems and len(each.manifests) == 1
        assert re.search(
            r"kept although implausible: train/a: 1 of 114 label times lie after the last",
            str(each),
        )


def test_boxes_that_are_cut_are_counted(tmp_path):
    events, boxes = make_street()
    boxes["x"][:7] = -3
    summary, _ = preprocess(tmp_path, events, boxes)
    assert summary.manifests[0]["boxes_cut"] == 7 and "boxes cut to the sensor: 7" in str(summary)


def test_recordings_of_other_rates_are_told(tmp_path):
    events, boxes = make_street()
    every_second = boxes[np.isin(boxes["t"], np.unique(boxes["t"])[::2])]
    folder = tmp_path / "raw" / "train"
    for name, rows in (("a", boxes), ("b", every_second)):
        write_events(folder / f"{name}_td.h5", events)
        np.save(folder / f"{name}_bbox.npy", rows)
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "out")
    assert not summary.problems
    assert (
        "WARNING recordings have labelled frames at different rates: 10 Hz in 1 (train/a), 15 Hz"
        in str(summary)
    )
    assert differing_rates([("a", 10.0), ("b", 11.0), ("c", None)]) == ""
