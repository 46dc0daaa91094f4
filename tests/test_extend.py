"""The examples of docs/extend.md train together, and each of them is at work."""

from __future__ import annotations

import csv
import os
import re

import pytest

from tests.helpers.cli import SMALL
from tests.helpers.paths import ROOT, THREADS
from tests.helpers.tool_process import run_tool

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extend.md").read_text(), re.S)
MODULE, CONFIG = "\n".join(BLOCKS[:-1]), BLOCKS[-1]
OPTIONS = [option for option in SMALL if "partition_size" not in option]


def run(folder, *words: object, status: int = 0) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": THREADS}
    output = folder / "output.txt"
    ended = run_tool(list(map(str, words)), env, output, 300, folder)
    assert ended == status and "Traceback" not in output.read_text(), output.read_text()[-3000:]
    return output.read_text()


@pytest.fixture(scope="module")
def trained(raw_sample, tmp_path_factory):
    """A folder as the page has it, with a training of four steps."""
    folder = tmp_path_factory.mktemp("extend")
    for name in ("tools", "etram_mmdet"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "configs").mkdir()
    for path in (ROOT / "configs").iterdir():
        (folder / "configs" / path.name).symlink_to(path)
    (folder / "configs" / "mine.py").write_text(CONFIG)
    (folder / "my_plugins").mkdir()
    (folder / "my_plugins" / "__init__.py").write_text(MODULE)
    words = ["--import", "my_plugins", "--representation", "NewestEvent", "--workers", 2]
    run(folder, "tools/preprocess.py", raw_sample, "data", *words)
    return folder, run(
        folder, "tools/train.py", "configs/mine.py", "--cfg-options", "data_root=data/", *OPTIONS
    )


def test_each_part_is_at_work(trained):
    folder, output = trained
    assert "loss_bbox 5 * TallBoxLoss" in output and "2 x 32 x 48 (NewestEvent" in output
    assert re.search(r"loss_aspect: \d+\.\d+", output) and "stride 8: 16 x" in output
    with open(folder / "work_dirs" / "mine" / "results.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert 0 <= float(last["missed/share"]) <= 1 and last["coco/AP"]


def test_a_checkpoint_alone_asks_for_the_config(trained):
    folder, _ = trained
    output = run(folder, "tools/test.py", "work_dirs/mine", status=1)
    assert "needs the modules my_plugins" in output and "tools/test.py CONFIG" in output


def test_it_is_tested_with_its_config(trained):
    folder, _ = trained
    options = ["--cfg-options", "data_root=data/"]
    assert "missed/share" in run(
        folder, "tools/test.py", "configs/mine.py", "work_dirs/mine", *options
    )
