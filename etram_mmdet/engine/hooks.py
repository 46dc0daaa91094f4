"""What happens around training steps and validations."""

from __future__ import annotations

from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from etram_mmdet.engine.checkpoint import make_plain
from etram_mmdet.evaluation.results_csv import append_row


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Leave nothing in a checkpoint that would have to be unpickled; runs after every other hook."""

    priority = "LOWEST"

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        make_plain(checkpoint, runner.cfg)


@HOOKS.register_module()
class ResultsCsvHook(Hook):
    """Append every evaluation to ``results.csv`` in the work folder, unrounded."""

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.val_dataloader, runner.iter, metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.test_dataloader, runner.loaded_step, metrics)

    @staticmethod
    @master_only
    def _write(runner: Runner, loader: DataLoader, step: int, metrics: dict | None) -> None:
        if metrics:
            append_row(Path(runner.work_dir) / "results.csv", dict(split=loader.dataset.split, step=step, **metrics))


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop when a loss is not finite, naming it and the step.

    Losses are read every ``interval`` steps only, since reading makes a GPU wait; the weights are lost at the first bad
    step already, so there is nothing to gain from noticing earlier.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        bad = [name for name, loss in outputs.items() if not torch.isfinite(torch.as_tensor(loss)).all()]
        if bad:
            raise FloatingPointError(
                f"{', '.join(bad)} is not finite at step {runner.iter + 1} (last looked {self.interval} steps before). "
                "Lower the learning rate (--cfg-options base_lr=...) or train without mixed precision (--cfg-options "
                "optim_wrapper.type=OptimWrapper)"
            )
