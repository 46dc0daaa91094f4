"""A training may be stopped at any moment; the same command starts and continues it."""

from __future__ import annotations

import csv
import os
import signal
import time

import pytest

from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL
from tests.helpers.paths import THREADS
from tests.helpers.tool_process import start_tool


def train_until(text: str | None, number: int, folder, data_root) -> tuple[int, str]:
    """Status and output of a training that gets a signal as soon as its output holds ``text``."""
    path = folder.with_suffix(".txt")
    options = ["--cfg-options", f"data_root={data_root}/", *SMALL, ALL_BOXES]
    words = ["tools/train.py", CONFIG, "--work-dir", str(folder), "--resume", "auto", *options]
    process = start_tool(words, {**os.environ, "OMP_NUM_THREADS": THREADS}, path)
    while text and process.is_alive() and not (path.exists() and text in path.read_text()):
        time.sleep(0.01)
    if text:
        os.kill(process.pid, number)
    process.join(300)
    assert process.exitcode is not None, path.read_text()[-3000:]
    return process.exitcode, path.read_text()


@pytest.fixture(scope="module")
def ended(sample, tmp_path_factory):
    """Work folder and outputs of a training that was stopped twice and then finished.

    It was stopped in a step, then in a validation.
    """
    folder = tmp_path_factory.mktemp("ended") / "run"
    in_step = train_until("Iter(train) [1/4]", signal.SIGTERM, folder, sample)
    steps = [path.stem for path in folder.glob("iter_*.pth")]
    in_validation = train_until("Iter(val) [1/", signal.SIGINT, folder, sample)
    left = {path.name for path in folder.iterdir() if path.is_file()}
    return folder, in_step, steps, in_validation, left, train_until(None, 0, folder, sample)


def test_the_status_says_which_signal_it_was(ended):
    _, (in_step, output), _, (in_validation, _), _, (undisturbed, _) = ended
    assert (in_step, in_validation, undisturbed) == (143, 130, 0)
    assert (
        "no checkpoint yet, so training starts from the beginning" in output
        and "Traceback" not in output
    )


def test_it_goes_on_after_the_step_that_was_the_last(ended):
    _, _, steps, (_, resumed), _, _ = ended
    (name,) = steps
    assert f"begins      after step {name.removeprefix('iter_')}, " in resumed


def test_the_validation_is_repeated_as_a_whole(ended):
    folder, _, _, (_, output), left, (_, again) = ended
    assert (
        "iter_2.pth" in left
        and "results.csv" not in left
        and not any("best" in name for name in left)
    )
    assert "Traceback" not in output + again
    assert "the validation at step 2 has no row in results.csv, so it runs first" in again
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    best = max(rows, key=lambda row: float(row["coco/AP"]))
    assert [path.name for path in folder.glob("best_*.pth")] == [
        f"best_coco_AP_iter_{best['step']}.pth"
    ]
