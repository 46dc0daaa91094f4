from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.raw import make_boxes, make_events, write_recording
from tests.helpers.street import make_street

TOOL = Path(__file__).parents[2] / "tools" / "preprocess.py"


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line; returns its exit code, stdout and stderr."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOL), run_name="__main__")
        return end.value.code, *capfd.readouterr()

    return call


def test_command_line_ends_with_a_summary_and_an_exit_code(tmp_path, run):
    for split in ("train", "val", "test"):
        write_recording(tmp_path / "raw" / split, "a")
    arguments = (
        tmp_path / "raw",
        tmp_path / "out",
        "--representation",
        "StackedHistogram",
        "bins=5",
        "--downsample",
        "none",
        "--workers",
        "2",
    )
    code, out, err = run(*arguments)
    assert code == 0 and "recordings: 100%" in err
    assert "3 recordings preprocessed, 0 were finished before, 0 problems" in out
    tensors = "event_representations_v2/stacked_histogram_dt=50_nbins=5/event_representations.h5"
    assert (tmp_path / "out/train/a" / tensors).is_file()

    write_recording(tmp_path / "raw" / "test", "b", boxes=make_boxes([]))
    code, out, _ = run(*arguments)
    assert code == 1
    assert "0 recordings preprocessed, 3 were finished before, 1 problems" in out
    assert "PROBLEM" in out and "b_bbox.npy: holds no boxes" in out


@pytest.mark.parametrize(
    "word, tensors, told",
    [
        ("nearest", "_ds2_nearest", "downsample nearest leaves out "),
        ("8", "_ds8_sum", ""),
        ("nearest8", "_ds8_nearest", "downsample nearest8 leaves out "),
    ],
)
def test_frames_are_smaller_by_any_whole_factor_and_what_that_leaves_out_is_told(
    word, tensors, told, tmp_path, run
):
    write_recording(
        tmp_path / "raw" / "train", "a", make_events(), make_boxes([100_000, 200_000, 300_000])
    )
    options = ("--downsample", word, "--keep-implausible", "--workers", "0")
    code, out, _ = run(tmp_path / "raw", tmp_path / "out", *options)
    assert code == 0
    assert (
        len(
            list(
                tmp_path.glob(
                    f"out/train/a/event_representations_v2/*/event_representations{tensors}.h5"
                )
            )
        )
        == 1
    )
    manifest = json.loads((tmp_path / "out/train/a/sequence.json").read_text())
    shown, left_out = manifest["events_in_frames"], manifest["events_left_out_by_downsample"]
    factor = 2 if word == "nearest" else 8
    assert manifest["representation_shape"] == [20, 48 // factor, 64 // factor]
    if told:
        assert left_out / shown == pytest.approx(1 - factor**-2, abs=0.02)
        share = f"{left_out / shown:.0%}"
        line = f"{told}{left_out:,} of the {shown:,} events in frames ({share}); sum keeps them"
        assert line in out
    else:
        assert left_out == 0 and "leaves out" not in out
    code, out, _ = run(tmp_path / "raw", tmp_path / "out", *options)
    assert code == 0 and "1 were finished before" in out


def test_options_say_how_files_are_read(tmp_path, run):
    events, boxes = make_street()
    events["t"] *= 1000
    boxes["t"] -= 500_000
    order = np.argsort(events["x"], kind="stable")
    for split in ("train", "val", "test"):
        write_recording(
            tmp_path / "raw" / split, "a", {k: v[order] for k, v in events.items()}, boxes
        )
    options = ("--event-time-unit", "ns", "--sort-events")
    code, out, _ = run(tmp_path / "raw", tmp_path / "out", *options, "--label-offset-us", "500000")
    assert code == 0 and "3 recordings preprocessed" in out
    code, out, _ = run(tmp_path / "raw", tmp_path / "kept", *options, "--keep-implausible")
    assert (
        code == 0
        and out.count("kept although implausible: ") == 3
        and "before the first event" in out
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no recordings NAME_td.h5"),
        (
            ("--representation", "StackedHistogram", "bins=0"),
            "bins=0, expected a whole number of at least 1",
        ),
        (
            ("--representation", "StackedHistogram", "bin=5"),
            "unknown option 'bin'; did you mean bins?",
        ),
        (("--representation", "StackedHistogram", "5"), "'5' is not KEY=VALUE"),
        (
            ("--representation", "Histogram"),
            "'Histogram' is unknown; did you mean StackedHistogram?",
        ),
    ],
)
def test_nothing_to_do_is_a_sentence(tmp_path, run, arguments, sentence):
    code, _, err = run(tmp_path, tmp_path / "out", *arguments)
    assert code == 1 and sentence in err
