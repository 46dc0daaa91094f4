"""Every tool that opens recordings has the same options for files of other conventions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from etram_mmdet.events.formats import open_recording
from tests.helpers.cli import run
from tests.helpers.raw import HEIGHT, WIDTH, make_boxes, make_events, write_events

SIZE = ["--sensor", WIDTH, HEIGHT]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Half a second of events in nanoseconds and out of order, without the size of the sensor."""
    folder = tmp_path_factory.mktemp("raw") / "train"
    events = make_events()
    shuffled = np.random.default_rng(0).permutation(len(events["t"]))
    events = {name: column[shuffled] for name, column in events.items()}
    events["t"] = events["t"].astype(np.int64) * 1000
    write_events(folder / "a_td.h5", events, with_size=False)
    np.save(folder / "a_bbox.npy", make_boxes([100_000, 200_000, 300_000]))
    return folder.parent


OPTIONS = ["--event-time-unit", "ns", "--sort-events", *SIZE]


def test_a_recording_is_converted(raw, tmp_path):
    run("tools/convert_recording.py", raw / "train" / "a_td.h5", tmp_path / "a.h5", *OPTIONS)
    with open_recording(tmp_path / "a.h5") as recording:
        events = recording.read(recording.t_first_us, recording.t_last_us + 1)
        assert (recording.width, recording.height) == (WIDTH, HEIGHT)
    assert np.array_equal(events.t, np.sort(make_events()["t"]))


def test_frames_are_exported(raw, tmp_path):
    output = run(
        "tools/export_frames.py",
        raw / "train" / "a_td.h5",
        tmp_path / "frames",
        "--fps",
        10,
        *OPTIONS,
    )
    assert "3 frames" in output


def test_a_folder_is_inspected(raw, tmp_path):
    run("tools/inspect_data.py", raw, "--out", tmp_path, *OPTIONS)
    (recording,) = json.loads((tmp_path / "data.json").read_text())["recordings"]
    assert recording["sensor_px"] == [WIDTH, HEIGHT]


def test_a_folder_is_measured(raw, trained, tmp_path):
    """What the tool does not know itself goes to the preprocessing."""
    (tmp_path / "test").symlink_to(raw / "train")
    output = run(
        "tools/measure_recordings.py", tmp_path, trained[0], "--out", tmp_path / "out", *OPTIONS
    )
    assert "3 frames, 3 boxes, in percent:" in output
