"""A program that frees compiled models in any order still takes signals."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
# Two engines, the first freed before the second; then a signal whose handler runs on that stack.
CODE = """
import faulthandler, gc, os, signal, sys
import numpy as np
from etram_mmdet.deploy.engines import OpenVinoEngine
from etram_mmdet.utils.signal_stack import current

faulthandler.enable()
before = current()
engines = [OpenVinoEngine(sys.argv[1]) for _ in range(2)]
shape = engines[0].description.frame_shape
for engine in engines:
    engine(np.zeros((1, *shape), np.uint8), None)
for _ in range(2):
    del engines[0]
    if engines:
        del engine
    gc.collect()
after = current()
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
os.kill(os.getpid(), signal.SIGUSR1)
assert (after.address, after.num_bytes) == (before.address, before.num_bytes)
"""


def test_signals_are_handled_after_engines_are_freed(tmp_path):
    graph = tmp_path / "detector.onnx"
    export = [sys.executable, "tools/export.py", "demo", graph]
    subprocess.run(export, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    done = subprocess.run(
        [sys.executable, "-c", CODE, graph], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout == "handled\n"
