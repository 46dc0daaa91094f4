"""``--help`` of every tool answers at once: nothing is loaded that takes long."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
SLOW = ("torch", "mmdet", "mmengine", "mmcv", "matplotlib", "cv2", "numba", "h5py")

# A bare Python that forks for each tool, so that none finds what another has loaded. It prints a
# line per tool: what --help wrote, and the modules that were loaded by then.
RUNNER = """
import io, json, os, runpy, sys
from contextlib import redirect_stdout

way, tools = sys.argv[1], sys.argv[2:]
for tool in tools:
    if os.fork():
        os.wait()
        continue
    text, status = io.StringIO(), None
    try:
        with redirect_stdout(text):
            if way == "script":
                sys.argv = [f"tools/{tool}.py", "--help"]
                runpy.run_path(sys.argv[0], run_name="__main__")
            else:
                sys.argv = ["etram_mmdet", tool, "--help"]
                runpy.run_module("etram_mmdet", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    modules = [name for name in sys.modules if "." not in name or name.startswith("etram_mmdet")]
    answer = dict(status=status, text=text.getvalue(), modules=modules)
    print(json.dumps([tool, answer]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module", params=["script", "module"])
def answers(request):
    """What each tool says: called by path, and by name through the package."""
    command = [sys.executable, "-c", RUNNER, request.param, *TOOLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert not done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("tool", TOOLS)
def test_help_loads_nothing_slow(answers, tool):
    answer = answers[tool]
    assert answer["status"] == 0 and answer["text"].startswith(f"usage: {tool}.py")
    assert not {*SLOW} & {*answer["modules"]}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_openmp_reads_is_set_before_anything_is_loaded(answers, tool):
    assert "etram_mmdet.utils.threads" in answers[tool]["modules"]
