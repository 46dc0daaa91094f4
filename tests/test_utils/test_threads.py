"""The spin count of OpenMP is set before PyTorch is loaded, unless the user has set it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

# Replaces PyTorch: prints the setting that PyTorch would read, and ends the process.
TORCH = "import os, sys\nprint(os.environ.get('GOMP_SPINCOUNT'))\nsys.stdout.flush()\nos._exit(0)\n"


def seen_by_torch(tmp_path, *command, **given):
    """The spin count in the environment at the moment at which a program loads PyTorch."""
    (tmp_path / "torch").mkdir(exist_ok=True)
    (tmp_path / "torch" / "__init__.py").write_text(TORCH)
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    env |= dict(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]), **given)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


# Arguments that bring a tool as far as PyTorch.
WORDS = dict(
    train=["none.py"],
    test=["none.pth"],
    detect=["none.pth", "none.raw", "--out", "a.csv"],
    benchmark=["none.py"],
    ablate=["none.py"],
    gpu_check=[],
)


@pytest.mark.parametrize("tool", WORDS)
def test_tools_set_it_before_torch_is_loaded(tool, tmp_path):
    assert seen_by_torch(tmp_path, f"tools/{tool}.py", *WORDS[tool]) == "1000"


def test_a_config_option_sets_it_too(tmp_path):
    """The first to need PyTorch is then the option itself."""
    command = ("tools/train.py", "none.py", "--cfg-options", "a=1")
    assert seen_by_torch(tmp_path, *command) == "1000"


def test_the_plugins_set_it_and_a_person_decides(tmp_path):
    command = ("-c", "import etram_mmdet.plugins")
    assert seen_by_torch(tmp_path, *command) == "1000"
    assert seen_by_torch(tmp_path, *command, GOMP_SPINCOUNT="7") == "7"
    assert seen_by_torch(tmp_path, *command, OMP_WAIT_POLICY="ACTIVE") == "None"
