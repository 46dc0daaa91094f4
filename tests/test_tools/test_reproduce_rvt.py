"""Run every command of docs/reproduce_rvt.md.

Recordings are small, in the published format; weights come from a formula.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.engine.checkpoints.opening import init_detector
from etram_mmdet.engine.checkpoints.rvt_weights import rvt_name
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.evaluation.predictions import load_predictions
from tests.helpers.paths import ROOT, THREADS
from tests.helpers.tool_process import run_tool
from tests.reference.answers import DATA
from tests.reference.our_detector import rvt_tensor
from tests.reference.recordings import GEN1_RECORDINGS, RAW_RECORDINGS, write_recordings
from tests.test_events.test_preprocess import assert_equals_the_reference

PAGE = (ROOT / "docs" / "reproduce_rvt.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]
CLASSES = {"gen1": ("car", "pedestrian"), "1mpx": ("pedestrian", "two wheeler", "car")}


def write_checkpoint(path: Path, config: str) -> None:
    """A Lightning checkpoint as RVT publishes it.

    Its weights are those with which the reference's answers were made.
    """
    model = MODELS.build(load_config(ROOT / "configs" / config).model)
    shapes = {rvt_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    torch.save(
        dict(state_dict={f"mdl.{name}": rvt_tensor(name, shape) for name, shape in shapes.items()}),
        path,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder in which all commands were run, and what each printed."""
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "tools").symlink_to(ROOT / "tools")
    write_recordings(folder / "data" / "gen1_raw", GEN1_RECORDINGS, "td.dat")
    write_recordings(folder / "data" / "1mpx_raw", RAW_RECORDINGS, "td.dat")
    for name in CLASSES:
        write_checkpoint(folder / f"rvt-t-{name}.ckpt", f"{name}_tiny.py")
    env = {**os.environ, "OMP_NUM_THREADS": THREADS}
    printed = {}
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        if words[0] == "tools/test.py":
            words += [
                "--out",
                f"{Path(words[1]).parent.name}.json",
                "--cfg-options",
                "test_dataloader.batch_size=1",
            ]
        status = run_tool(words, env, folder / "output", 300, folder)
        printed[command] = (folder / "output").read_text()
        assert status == 0, f"{command}\n{printed[command][-3000:]}"
    return folder, printed


def test_the_page_has_every_step():
    assert [shlex.split(command)[1] for command in COMMANDS] == [
        *["tools/preprocess.py"] * 2,
        *["tools/convert_rvt.py", "tools/test.py"] * 2,
    ]


@pytest.mark.parametrize(("name", "preset"), [("gen1", "gen1"), ("1mpx", "gen4")])
def test_the_sequence_folders_are_those_of_the_reference(done, name, preset):
    """Filters, grid, sensor and size follow from the preset.

    A data set reads RVT's folders as it reads ours.
    """
    folder, printed = done
    (summary,) = (text for command, text in printed.items() if f"--preset {preset} " in command)
    assert "0 problems" in summary
    if name == "gen1":
        assert "recordings without a usable box, left out as in RVT: 1" in summary
        assert "17-04-06_15-14-36_1159500000_1219500000_bbox.npy: no box is left" in summary
    assert_equals_the_reference(folder / "data" / name, DATA / f"preprocessed_{preset}")
    options = dict(split="test", pipeline=[], class_set=name, test_mode=True)
    options["representation"] = load_config(
        ROOT / "configs" / f"{name}.py"
    ).representation.to_dict()
    ours, theirs = (
        ETraMDataset(root, **options)
        for root in (folder / "data" / name, DATA / f"preprocessed_{preset}")
    )
    assert (
        ours.metainfo["classes"] == CLASSES[name]
        and len(ours.sequences) == len(theirs.sequences) == 1
    )
    for a, b in zip(ours.sequences, theirs.sequences, strict=True):
        np.testing.assert_array_equal(a.t_us, b.t_us)
        np.testing.assert_array_equal(a.read(0, 2), b.read(0, 2))


@pytest.mark.parametrize(
    ("name", "protocol", "diagonal", "side"),
    [("gen1", "prophesee_gen1:class", 30, 10), ("1mpx", "prophesee:class", 60, 20)],
)
def test_the_evaluation_counts_what_the_reference_counts(done, name, protocol, diagonal, side):
    """Frames after half a second with boxes that are large enough, and these boxes."""
    folder, printed = done
    work_dir = folder / "work_dirs" / f"{name}_tiny"
    with open(work_dir / "results.csv", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    kept = []
    for path in (folder / "data" / name / "test").glob("*/labels_v2/labels.npz"):
        boxes = np.load(path)["labels"]
        large = (
            (boxes["w"] ** 2 + boxes["h"] ** 2 >= diagonal**2)
            & (boxes["w"] >= side)
            & (boxes["h"] >= side)
        )
        kept.append(boxes[(boxes["t"] > 500_000) & large])
    kept = np.concatenate(kept)
    assert int(row[f"{protocol}/frames"]) == len(np.unique(kept["t"])) > 0
    assert int(row[f"{protocol}/boxes"]) == len(kept) > 0
    assert 0 <= float(row[f"{protocol}/AP"]) < 1 and "coco/AP" in row
    (output,) = (
        text for command, text in printed.items() if f"test.py work_dirs/{name}_tiny" in command
    )
    assert (
        f"protocol {protocol}: class-aware, first 0.5 s, diagonals < {diagonal} and sides < {side}"
        in output
    )
    predictions = load_predictions(folder / f"{name}_tiny.json")
    assert (
        tuple(predictions.classes) == CLASSES[name]
        and sum(len(f.found) for f in predictions.frames) > 0
    )


def test_streams_follow_the_step_of_the_training(done):
    folder, _ = done
    for name, step_us in (("gen1", 125_000), ("1mpx", 50_000)):
        model = init_detector(folder / "work_dirs" / f"{name}_tiny" / "rvt-t.pth", device="cpu")
        assert model.step_us == step_us and tuple(model.dataset_meta["classes"]) == CLASSES[name]


def test_the_numbers_to_expect_are_those_of_the_model_index():
    import yaml

    index = {
        model["Name"]: model
        for model in yaml.safe_load((ROOT / "model-index.yml").read_text())["Models"]
    }
    told = dict(re.findall(r"`(\w+)\.py` ([\d.]+)", PAGE))
    assert set(told) == {f"{name}{size}" for name in CLASSES for size in ("", "_small", "_tiny")}
    for name, number in told.items():
        assert index[name]["Results"][0]["Metrics"]["box AP"] == float(number)
