"""Tools on full disks.

tests/reliability/full_disks.py tries every tool with every fault.
"""

from __future__ import annotations

import shutil

import pytest

from tests.reliability import full_disks


@pytest.fixture(scope="module")
def inputs(raw_sample, sample, trained, tmp_path_factory):
    run = tmp_path_factory.mktemp("inputs") / "run"
    shutil.copytree(trained[0], run)
    return full_disks.Inputs(raw_sample, sample, run / "iter_4.pth")


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("train", 0.3),
        ("test --show-dir", 0.05),
        ("detect mp4", 0.0),
        ("live", 0.1),
        ("make_sample", 0.1),
        ("preprocess", 0.1),
    ],
)
def test_a_full_disk_is_a_sentence(name, share, inputs, tmp_path):
    (tmp_path / "trial").mkdir()
    fault = next(fault for fault in full_disks.faults() if fault in ("full", "too large"))
    result = full_disks.trial(name, fault, inputs, tmp_path / "trial", share)
    assert result.outcome == full_disks.GOOD[0], result.output[-2000:]
