"""A training by the project's runner on the stand-in device, with the loop's hooks."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import DataLoader, Dataset

from etram_mmdet.engine.runner.stream_runner import StreamRunner
from tests.cuda_stand_in.detectors import clips
from tests.cuda_stand_in.memory import NAME
from tests.cuda_stand_in.waits import Wait, counted, recorded

OF_THE_LOOP = ("FiniteLossHook", "DataWaitHook")  # the other custom hooks write files


class _Batches(Dataset):
    """The same two lanes of three frames at every step."""

    metainfo: dict = {}  # noqa: RUF012

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.steps = steps
        self.data = clips(model, 2, 3)

    def __len__(self) -> int:
        return 2 * self.steps

    def __getitem__(self, index: int) -> dict:
        return {key: rows[index % 2] for key, rows in self.data.items()}


class _CountWaits(Hook):
    """Counts the waits of every step, those of the other hooks among them."""

    priority = "LOWEST"

    def __init__(self, seen: list[Wait]) -> None:
        self.seen = seen
        self.of_steps = []
        self.first = 0

    def before_train_iter(self, *_, **__) -> None:
        self.first = len(self.seen)

    def after_train_iter(self, *_, **__) -> None:
        self.of_steps.append(counted(self.seen[self.first :]))


def train(model: nn.Module, cfg: Config, steps: int, work_dir: Path) -> tuple[StreamRunner, list]:
    """Train a few steps.

    Args:
        model: the detector, on the device.
        cfg: its config, which gives hooks and optimizer.
        steps: how many.
        work_dir: an empty folder.

    Returns:
        The runner, and the counted waits of every step.
    """
    hooks = {
        name: hook
        for name, hook in cfg.default_hooks.to_dict().items()
        if name not in ("checkpoint", "visualization")
    }
    chosen = [dict(hook) for hook in cfg.custom_hooks if hook["type"] in OF_THE_LOOP]
    with mock.patch("mmengine.runner.runner.get_device", lambda: NAME), recorded() as seen:
        count = _CountWaits(seen)
        runner = StreamRunner(
            model,
            str(work_dir),
            train_dataloader=DataLoader(_Batches(model, steps), 2, collate_fn=pseudo_collate),
            train_cfg=dict(type="StreamTrainLoop", max_iters=steps, val_interval=steps + 1),
            optim_wrapper=cfg.optim_wrapper.to_dict(),
            default_hooks=hooks | dict(checkpoint=None),
            custom_hooks=[*chosen, count],
            default_scope="mmdet",
            log_level="ERROR",
            log_processor=cfg.log_processor.to_dict(),
            cfg=cfg,
        )
        runner.train()
    return runner, count.of_steps
