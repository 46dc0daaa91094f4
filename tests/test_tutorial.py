"""The code cells of docs/tutorial.ipynb run in order, and the file holds no outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from tests.helpers.paths import ROOT, THREADS

CELLS = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_the_cells_run(tmp_path):
    """As a plain script, without Jupyter; the numbers say what the text says about them."""
    (tmp_path / "tutorial.py").write_text("\n\n".join(CODE))
    env = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": THREADS, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "tutorial.py"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    remembers, forgets = re.findall(r"^with\w* memory +AP (\S+) +AP50 (\S+)$", done.stdout, re.M)
    assert float(remembers[0]) > float(forgets[0]) and float(remembers[1]) > float(forgets[1])
    kept, reset = re.findall(r"window: (\S+) with memory, (\S+) after", done.stdout)[0]
    assert float(kept) > float(reset)
    boxes, score = re.findall(r"^motorbike +(\d+) +(\S+)$", done.stdout, re.M)[0]
    ap50 = re.findall(r"^AP50 of motorbike +(\S+)$", done.stdout, re.M)[0]
    assert int(boxes) == 0 and float(score) == 0 and float(ap50) > 0.5
    assert os.listdir(tmp_path) == ["tutorial.py"]


def test_no_outputs_are_kept():
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in CELLS)


def test_every_picture_has_a_description():
    drawn = [cell for cell in CELLS if "plt.show()" in "".join(cell["source"])]
    assert len(drawn) == 3 and all(cell["metadata"]["alt"] for cell in drawn)
