"""Tests that an ablation goes on with a run that it began, and refuses any other run there."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from etram_mmdet.analysis.runs.launch import check_order, finished_result
from etram_mmdet.analysis.runs.plan import load_plan
from etram_mmdet.utils.errors import InputError

PLAN = """
baseline = "baseline"
samples = 12
seeds = (0,)
runs = dict(baseline=dict(config="configs/baseline_tiny.py"))
"""


def begun_by_version_0_1(cfg):
    """Removes the settings that follow from others, and the parts that draw detections."""
    cfg.custom_imports = dict(imports=["etram_mmdet"])
    cfg.custom_hooks = cfg.custom_hooks[:-4]
    cfg.env_cfg.pop("rank_timeout_s")
    cfg.model.backbone.pop("in_channels")
    cfg.model.bbox_head.pop("num_classes")
    cfg.default_hooks.pop("visualization")
    cfg.visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.pop("window_us")
    return cfg


@pytest.mark.parametrize(
    ("option", "says"),
    [({}, None), ({"model.backbone.embed_dims": 24}, r"other settings .*embed_dims: 24, now 32")],
)
def test_runs_of_version_0_1_go_on(option, says, tmp_path):
    (tmp_path / "plan.py").write_text(PLAN)
    (variant,) = load_plan(tmp_path / "plan.py").variants
    cfg = begun_by_version_0_1(variant.config_for(0))
    cfg.merge_from_dict(option)
    (tmp_path / "baseline").mkdir()
    cfg.dump(tmp_path / "baseline" / "seed_0.py")
    if says is None:
        assert check_order(tmp_path, variant, 0).name == "seed_0.py"
        return
    with pytest.raises(InputError, match=says):
        check_order(tmp_path, variant, 0)


@pytest.mark.parametrize(
    ("table", "record", "says"),
    [
        ("split,step\nval,2", dict(test_cfg={}), "a row is cut off"),
        ("split,step\nval,two\n", dict(test_cfg={}), "invalid literal"),
        ("split,step\nval,2\n", [], "not the results of a run"),
    ],
)
def test_damaged_results_are_named(table, record, says, tmp_path):
    (tmp_path / "results.csv").write_text(table)
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=rf"results\.csv, run\.json: .*{says}.*delete this run's folder"
    ):
        finished_result(tmp_path, SimpleNamespace(steps=2))
