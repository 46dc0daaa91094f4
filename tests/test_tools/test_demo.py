"""The demo end to end, in a small size, and a second time."""

from __future__ import annotations

import re
import shlex
import time

import cv2
import pytest

from etram_mmdet.engine.checkpoints.release import digest
from tests.helpers.cli import SMALL, run
from tests.helpers.paths import ROOT

# As the demo does, without a validation while it trains.
OPTIONS = [option for option in SMALL[:-1] if "val_" not in option] + ["train_cfg.val_begin=5"]


def demo(folder):
    size = ["--recordings", "2", "1", "1", "--seconds", "1.5"]
    paths = [
        "--data",
        folder / "data",
        "--work-dir",
        folder / "run",
        "--release",
        folder / "released.pth",
    ]
    return run("tools/demo.py", *paths, *size, "--cfg-options", *OPTIONS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo(folder)


def test_demo(made):
    folder, output = made
    line = next(text for text in reversed(output.splitlines()) if text.startswith("demo:"))
    assert re.fullmatch(
        r"demo: AP50 0\.\d\d AP 0\.\d\d \(val, \d+ frames, \d+ boxes\) in \d+ s", line
    )
    for step in ("== sample", "== preprocess", "== train", "== test"):
        assert step in output
    released = folder / "released.pth"
    assert f"{released}: SHA-256 {digest(released)}...\n" in output
    assert f"== test: python tools/test.py {released} --out" in output  # AP is that of the file
    for name in ("val.png", "results.png"):
        picture = cv2.imread(str(folder / "run" / name))
        assert picture.shape[1] > 600 and picture.std() > 10


def test_every_file_is_named_with_what_it_is(made):
    folder, output = made
    lines = output.split("== files:\n")[1].split("\n\n")[0].splitlines()
    named = {path: what for path, what in (line.split("  ", 1) for line in lines)}
    assert all(what.strip() for what in named.values())
    left = {str(path) for path in (folder / "run").iterdir()} | {
        str(path) for path in (folder / "data").iterdir()
    }
    assert set(named) == left


def test_the_next_commands_run(made, tmp_path):
    _, output = made
    film, own, tests = output.split("next:\n")[1].splitlines()
    words = shlex.split(film, comments=True)
    assert words[1] == "tools/detect.py" and words[-1] == "film.mp4"
    run(*words[1:-1], tmp_path / "film.mp4", "--duration-s", "0.5")
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert shlex.split(own)[1] == "tools/preprocess.py" and (ROOT / "docs" / "data.md").is_file()
    assert shlex.split(tests, comments=True) == ["make", "test"]


def test_an_interrupted_demo_goes_on(made):
    """A killed training: the last checkpoint is missing, but a file names it."""
    folder, _ = made
    (folder / "run" / "iter_4.pth").unlink()
    before = (folder / "run" / "iter_2.pth").stat().st_mtime
    start = time.time()
    output = demo(folder)
    assert "begins      after step 2, " in output and "Iter(train) [3/4]" in output
    assert "Iter(train) [1/4]" not in output and "demo: AP50" in output
    assert (folder / "run" / "iter_4.pth").stat().st_mtime > start > before
