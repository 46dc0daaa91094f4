"""An error of a class about a wrong value becomes a sentence.

A fault in a user's own code keeps its traceback.
"""

from __future__ import annotations

import pytest
from mmdet.registry import HOOKS, MODELS
from mmengine.hooks import Hook

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.engine.runner import rank_watch
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

CFG = dict(
    hooks=dict(logger=dict(type="LoggerHook", interval=0)),
    model=dict(neck=dict(type="SiLUU", depth=2)),
)


@pytest.mark.parametrize(
    ("registry", "part", "says"),
    [
        (
            HOOKS,
            CFG["hooks"]["logger"],
            r"^hooks\.logger: LoggerHook\(interval=0\) cannot be used \(ValueError",
        ),
        (
            MODELS,
            CFG["model"]["neck"],
            r"^model\.neck\.type='SiLUU': no class of this name is registered; did",
        ),
        (
            HOOKS,
            dict(interval=0),
            r"^the config=\{'interval': 0\}: this dict has no type, here or in _base_; add type=",
        ),
    ],
    ids=["value", "name", "no type"],
)
def test_a_part_that_cannot_be_built_is_named(registry, part, says):
    with pytest.raises(InputError, match=says), refused_settings(CFG):
        registry.build(part)


def test_a_fault_in_own_code_keeps_its_traceback(monkeypatch):
    """Own code is code such as this file, which is neither installed nor part of the package."""

    class Own(Hook):
        def __init__(self):
            self.things = {}["missing"]

    monkeypatch.setitem(HOOKS.module_dict, "Own", Own)
    with pytest.raises(KeyError, match="missing"), refused_settings(CFG):
        HOOKS.build(dict(type="Own"))


def test_what_another_process_has_broken_is_no_fault_of_the_config(monkeypatch):
    """``watched`` names the process instead."""
    monkeypatch.setattr(rank_watch, "_watch", object())
    with pytest.raises(RuntimeError, match="closed by peer"), refused_settings(CFG):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")


@pytest.mark.parametrize("workers, persistent", [(0, False), (2, True)])
def test_without_processes_none_persist(workers, persistent):
    """Every config has persistent_workers=True, which PyTorch refuses if num_workers is 0."""
    options = {"train_dataloader.num_workers": workers, "train_dataloader.prefetch_factor": 4}
    loader = load_config(ROOT / "configs" / "baseline.py", options).train_dataloader
    assert loader.persistent_workers is persistent and ("prefetch_factor" in loader) is persistent


def test_whole_numbers_may_be_written_with_an_exponent(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = '{ROOT}/configs/baseline.py'\ntrain_cfg = dict(max_iters=1e3)\n")
    cfg = load_config(
        path, {"train_dataloader.batch_size": 4.0, "model.backbone.out_stages": (2.0, 3, 4)}
    )
    values = [
        cfg.train_cfg.max_iters,
        cfg.train_dataloader.batch_size,
        *cfg.model.backbone.out_stages,
    ]
    assert values == [1000, 4, 2, 3, 4] and {type(value) for value in values} == {int}
    assert cfg.param_scheduler[0].total_steps == 1000 and isinstance(cfg.base_lr, float)
