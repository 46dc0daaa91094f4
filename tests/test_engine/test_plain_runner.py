"""With mmengine's ``Runner`` our configs train, fill in, check and keep plain checkpoints, too."""

from __future__ import annotations

import logging

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from etram_mmdet.apis import init_detector
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import SMALL
from tests.helpers.paths import ROOT

OPTIONS = dict(item.split("=", 1) for item in SMALL) | {
    "train_cfg.val_interval": "4",
    "model.backbone.partition_size": (1, 3),
    "model.backbone.embed_dims": 16,
    "model.backbone.head_dim": 16,
    "model.neck.num_csp_blocks": 1,
    "optim_wrapper.type": "OptimWrapper",  # mmengine's Runner does not ask whether there is a GPU
    "sync_bn": None,
    "runner_type": "Runner",
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
}
NUMBERS = {
    key: int(value) for key, value in OPTIONS.items() if isinstance(value, str) and value.isdigit()
}


def loaded(config: str, sample, folder) -> Config:
    options = (
        OPTIONS | NUMBERS | {"data_root": f"{sample}/", "work_dir": str(folder), "launcher": "none"}
    )
    return load_config(ROOT / "configs" / f"{config}.py", options)


@pytest.fixture
def quiet():
    yield
    logging.getLogger("mmengine").handlers.clear()


def test_trains_validates_and_keeps_a_plain_checkpoint(sample, tmp_path, quiet):
    """The loss is class-balanced, so it needs the boxes of the training data."""
    Runner.from_cfg(loaded("patch2_sizeaware_abc", sample, tmp_path)).train()
    model = init_detector(tmp_path / "iter_4.pth", device="cpu")
    assert model.bbox_head.num_classes == 8 and (tmp_path / "results.csv").is_file()
    (dumped,) = tmp_path.glob("*.py")
    again = tmp_path / "again"
    cfg = Config.fromfile(dumped)  # complete, so that it needs no loader of ours
    cfg.work_dir = str(again)
    Runner.from_cfg(cfg).train()
    assert init_detector(again / "iter_4.pth", device="cpu")


def test_other_classes_are_refused(sample, tmp_path, quiet):
    cfg = loaded("patch2_sizeaware_demo", sample, tmp_path)
    cfg.model.bbox_head.num_classes = 3
    with pytest.raises(InputError, match=r"num_classes=3, but .* has 8 classes"):
        Runner.from_cfg(cfg).train()


def test_a_raw_config_is_refused_in_a_sentence(tmp_path, quiet):
    cfg = Config.fromfile(ROOT / "configs" / "patch2_sizeaware_demo.py")
    cfg.work_dir = str(tmp_path)
    cfg.runner_type = "Runner"
    with pytest.raises(InputError, match=r"in_channels is missing.*load_config"):
        Runner.from_cfg(cfg)
