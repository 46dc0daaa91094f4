"""Validation is left out where, and only where, the data have no split for it."""

from __future__ import annotations

import pytest

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.config.missing_split import leave_out_validation
from tests.helpers.paths import ROOT

VAL = ("val_dataloader", "val_cfg", "val_evaluator")


def config(data_root, name="baseline", **options):
    return load_config(ROOT / "configs" / f"{name}.py", {"data_root": f"{data_root}/", **options})


@pytest.fixture(params=["baseline", "baseline_from_raw"])
def case(request, sample, raw_sample, tmp_path):
    """A kind of config and a folder of its data with the split train alone."""
    (tmp_path / "train").symlink_to(
        (sample if request.param == "baseline" else raw_sample) / "train"
    )
    return request.param, tmp_path


def test_left_out(case):
    name, root = case
    cfg = config(root, name)
    assert leave_out_validation(cfg) == [
        f"{root}/val: no recordings, so the training runs without validation: no AP and no best "
        "checkpoint"
    ]
    assert not any(cfg.get(key) for key in VAL) and cfg.test_dataloader and cfg.train_dataloader
    (root / "val").mkdir()
    assert len(leave_out_validation(config(root, name))) == 1  # an empty folder


def test_kept(case):
    name, root = case
    (root / "val").symlink_to(root / "train")
    whole = config(root, name)
    assert leave_out_validation(whole) == [] and all(whole.get(key) for key in VAL)
    nowhere = config(root / "missing", name)
    (root / "val").unlink()
    misspelt = config(root, name, **{"val_dataloader.dataset.split": "vla"})
    test_only = config(root, name)
    test_only.train_cfg = None
    for cfg in (nowhere, misspelt, test_only):
        assert leave_out_validation(cfg) == [] and all(cfg.get(key) for key in VAL)
