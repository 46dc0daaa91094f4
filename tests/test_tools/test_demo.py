"""The demo end to end, reduced in size: simulator, preprocessing, training, test, picture."""

from __future__ import annotations

import re

import cv2

from tests.test_tools.cli import SMALL, run


def test_demo(tmp_path):
    size = ["--recordings", "2", "1", "1", "--seconds", "1.5"]
    paths = ["--data", tmp_path / "data", "--work-dir", tmp_path / "run"]
    output = run("tools/demo.py", *paths, *size, "--cfg-options", *SMALL[:-1])
    last = output.strip().splitlines()
    line = next(text for text in reversed(last) if text.startswith("demo:"))
    assert re.fullmatch(r"demo: AP50 0\.\d\d AP 0\.\d\d \(val, \d+ frames, \d+ boxes\) in \d+ s", line)
    for step in ("== sample", "== preprocess", "== train", "== test"):
        assert step in output
    sheet = cv2.imread(str(tmp_path / "run" / "val.png"))
    assert sheet.shape[1] > 600 and sheet.std() > 10
