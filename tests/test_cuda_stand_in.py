"""The detectors on a stand-in for CUDA, in a process of its own: see tests/cuda_stand_in."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from tests.cuda_stand_in import available
from tests.cuda_stand_in.available import why_not
from tests.helpers.paths import THREADS
from tests.helpers.tool_process import run_tool

FOLDER = Path(__file__).parent / "cuda_stand_in"
CHECKS = sorted(path.stem for path in FOLDER.glob("check_*.py"))


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> ElementTree.Element:
    """What pytest reports about all checks; they share one process, which imports once."""
    if why_not():
        pytest.skip(why_not())
    path = tmp_path_factory.mktemp("stand_in") / "report.xml"
    output = path.with_name("output")
    command = [str(FOLDER / "run.py"), f"--junitxml={path}"]
    run_tool(command, {**os.environ, "OMP_NUM_THREADS": THREADS}, output, timeout=300)
    assert path.exists(), output.read_text()[-3000:]
    return ElementTree.parse(path).getroot()


@pytest.mark.parametrize("name", CHECKS)
def test_checks(name, report):
    cases = [case for case in report.iter("testcase") if name in case.get("classname").split(".")]
    failed = [
        f"{case.get('name')}: {problem.text}"
        for case in cases
        for problem in (*case.iter("failure"), *case.iter("error"))
    ]
    assert cases and not failed, "\n".join(failed)[-5000:]


def test_other_releases_of_pytorch_are_left_out_with_a_sentence(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.99.1+cpu")
    assert why_not().startswith("the stand-in for CUDA is known to work with PyTorch 2.13, and")
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    monkeypatch.setattr(available, "NEEDED", ("torch._C._no_such_name", "torch.nonexistent.name"))
    assert "needs torch._C._no_such_name, torch.nonexistent.name, which" in why_not()
