"""Real recordings go through everything (read from ../shared, skipped where that is missing)."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper

from etram_mmdet.datasets import StreamBatchSampler, StreamEvalBatchSampler
from etram_mmdet.engine.config.complete import resolve
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from tests.helpers.paths import ROOT


class SamplerOf:
    def __init__(self, dataset):
        self.dataset, self.seed = dataset, 0


@pytest.fixture(scope="module")
def pedro(tmp_path_factory):
    """Nine labelled 40 ms samples, shorter than one window, with time stamps from 1.67e15 us on."""
    source = ROOT.parent / "shared" / "data" / "pedro"
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    out = tmp_path_factory.mktemp("pedro")
    summary = preprocess_folder(source, out, workers=2)
    assert not summary.problems and len(summary.manifests) == 9
    return out


@pytest.mark.parametrize("mode", ["stream", "random", "mixed"])
def test_pedro_trains(pedro, mode):
    cfg = load_config(ROOT / "configs" / "patch2_sizeaware_demo.py", {"data_root": f"{pedro}/"})
    resolve(cfg, device="cpu")
    model = MODELS.build(cfg.model)
    model.init_weights()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset.sequences[0].t_us[0] > 1.6e15
    batch = pseudo_collate(
        [dataset[r] for r in next(iter(StreamBatchSampler(SamplerOf(dataset), 2, mode=mode)))]
    )
    labelled = [f for sample in batch["data_samples"] for f in sample if f.is_labelled]
    assert len(labelled) == 2 and all(len(f.gt_instances) for f in labelled)
    assert all(clip.any() for clip in batch["inputs"])
    logs = model.train_step(batch, build_optim_wrapper(model, cfg.optim_wrapper))
    assert torch.isfinite(logs["loss"]) and logs["loss_bbox"] > 0


def test_pedro_is_evaluated(pedro):
    cfg = load_config(ROOT / "configs" / "patch2_sizeaware_demo.py", {"data_root": f"{pedro}/"})
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    for requests in StreamEvalBatchSampler(SamplerOf(dataset), 2):
        with torch.no_grad():
            samples = model.val_step(pseudo_collate([dataset[r] for r in requests]))
        metric.process(None, [s.to_dict() for s in samples])
    result = metric.evaluate(len(dataset))
    assert result["coco/frames"] == len(dataset) == 3 and result["coco/boxes"] >= 3
    assert 0 <= result["coco/AP"] <= 1
