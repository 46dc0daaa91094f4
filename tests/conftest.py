"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import etram_mmdet.plugins  # noqa: F401
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.simulation.sample import make_sample
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT, THREADS
from tests.reference.recordings import write_recordings

SHARED = ROOT.parent / "shared"

torch.set_num_threads(int(THREADS))


@pytest.fixture
def shared() -> Path:
    """Folder with real recordings beside the checkout; tests that need them skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def reference_raw(tmp_path_factory) -> Path:
    """Raw recordings whose preprocessing by the reference code is in ``tests/data``.

    There are four, with a sensor of 1280x720 pixels.
    """
    return write_recordings(tmp_path_factory.mktemp("reference_raw"))


@pytest.fixture(scope="session")
def raw_sample(tmp_path_factory) -> Path:
    """Simulated recordings of two seconds, with a sensor of 96x64 pixels.

    Three are for training, two for validation and two for testing.
    """
    out = tmp_path_factory.mktemp("raw")
    make_sample(out, width=96, height=64, recordings=(3, 2, 2), duration_s=2.0, workers=2)
    return out


@pytest.fixture(scope="session")
def sample(raw_sample, tmp_path_factory) -> Path:
    """``raw_sample`` preprocessed: frames of 48x32."""
    out = tmp_path_factory.mktemp("preprocessed")
    assert not preprocess_folder(raw_sample, out, workers=2).problems
    return out


@pytest.fixture(scope="session")
def trained(sample, tmp_path_factory) -> tuple[Path, str]:
    """Work folder of a training of four steps with two validations, and its output.

    Tests must not write to the folder.
    """
    folder = tmp_path_factory.mktemp("run")
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, ALL_BOXES]
    return folder, run("tools/train.py", CONFIG, "--work-dir", folder, *options)
