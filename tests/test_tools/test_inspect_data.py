"""tools/inspect_data.py as its user runs it."""

from __future__ import annotations

import json

import pytest
from mmengine.config import Config

from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from tests.helpers.cli import run
from tests.helpers.paths import ROOT
from tests.helpers.raw import write_recording
from tests.helpers.street import make_street

TOOL = "tools/inspect_data.py"


def content(out) -> dict:
    assert (out / "data.png").stat().st_size > 10_000
    return json.loads((out / "data.json").read_text())


def test_config_and_recordings(sample, raw_sample, tmp_path):
    """The result is the same for a config with sequences, one with recordings, and a folder."""
    first = run(
        TOOL,
        "configs/patch2_sizeaware.py",
        "--out",
        tmp_path / "a",
        "--cfg-options",
        f"data_root={sample}/",
    )
    assert "pedestrian" in first and "size mix" in first and "size thresholds" not in first
    raw_config = tmp_path / "raw.py"
    raw_config.write_text(
        f'_base_ = "{ROOT}/configs/patch2_sizeaware.py"\n'
        f'data_root = "{raw_sample}"\n'
        'train_dataloader = dict(dataset=dict(type="RawEventDataset", preset="gen4"))\n'
    )
    run(TOOL, raw_config, "--out", tmp_path / "b")
    run(TOOL, raw_sample, "--out", tmp_path / "c")
    sequences, gen4, recordings = (content(tmp_path / name) for name in "abc")
    assert sequences["splits"] == recordings["splits"] and len(sequences["recordings"]) == 7
    assert set(sequences["size_thresholds"]) == {"fixed", "classes", "p25", "p30"}
    assert gen4["splits"]["train"]["per_class"]["bus"]["boxes"] == 0  # the preset keeps ids 0 to 2
    assert gen4["splits"]["train"]["dropped"]["boxes_other_class"] > 0
    assert any(warning.startswith("no box of bus, ") for warning in gen4["warnings"])


def test_thresholds(raw_sample, tmp_path):
    printed = run(
        TOOL,
        raw_sample,
        "--no-events",
        "--rule",
        "p30",
        "--out",
        tmp_path,
        "--class-set",
        "etram3_from8",
    )
    assert "training boxes with weight > 1" in printed and "WARNING" in printed
    found = content(tmp_path)
    assert (
        found["classes"] == ["pedestrian", "vehicle", "micro-mobility"]
        and found["splits"]["train"]["events"] is None
    )
    values = Config.fromfile(tmp_path / "size_thresholds.py").size_thresholds
    assert values.small_area == round(found["size_thresholds"]["p30"]["small_area"], 1)
    named = tmp_path / "named.py"
    run(TOOL, raw_sample, "--no-events", "--thresholds", "--out", tmp_path, "--fragment", named)
    assert "rule classes" in named.read_text().replace("\n# ", " ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "nowhere: no such data folder"),
        (("nowhere.py",), "nowhere.py: no such config"),
        (("configs/_base_/models/rvt.py",), "no train_dataloader.dataset.data_root"),
        (
            ("configs/baseline.py", "--class-set", "etram3"),
            "--class-set and --classes are for folders",
        ),
        (("data", "--cfg-options", "a=1"), "--cfg-options: data is not a config"),
    ],
)
def test_bad_input_is_a_sentence(arguments, sentence, tmp_path):
    assert sentence in run(TOOL, *arguments, "--out", tmp_path, ok=False)
    assert not list(tmp_path.iterdir())


def test_labels_that_do_not_fit_are_a_problem(tmp_path):
    """Of the recording, and of the sequence folder that was made of it nevertheless."""
    events, boxes = make_street(5.0)
    boxes["t"] += 500_000
    for split in ("train", "val", "test"):
        write_recording(tmp_path / "raw" / split, "a", events, boxes[boxes["t"] < 4_900_000])
    preprocess_folder(tmp_path / "raw", tmp_path / "out", keep_implausible=True)
    sentence = (
        "if the labels are shifted by -0.5 s; likely cause: their clock is off; "
        "use --label-offset-us -500000"
    )
    for folder in ("raw", "out"):
        printed = run(TOOL, tmp_path / folder, "--out", tmp_path / "found", ok=False)
        assert (
            printed.count("PROBLEM train/a: moving boxes hold") == 1
            and printed.count(sentence) == 3
        )
        assert len(content(tmp_path / "found")["problems"]) == 3
    run(TOOL, tmp_path / "raw", "--no-events", "--out", tmp_path / "found")


def test_class_names_of_ones_own(raw_sample, tmp_path):
    """On the command line for ids; by themselves where a folder or its labels hold names."""
    quick = ("--no-events", "--out", tmp_path / "found")
    run(TOOL, raw_sample, *quick, "--classes", "0=walker", *(f"{i}=other" for i in range(1, 8)))
    assert content(tmp_path / "found")["classes"] == ["walker", "other"]
    names = {**dict.fromkeys(map(str, range(8)), "other"), "0": "walker"}
    settings = PreprocessSettings(class_set=dict(classes=("walker", "other"), mapping=names))
    preprocess_folder(raw_sample, tmp_path / "frames", settings)
    run(TOOL, tmp_path / "frames", *quick)
    assert content(tmp_path / "found")["classes"] == ["walker", "other"]
