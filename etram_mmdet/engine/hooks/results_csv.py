"""Every evaluation as a row of ``results.csv``."""

from __future__ import annotations

from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from etram_mmdet.datasets.statistics import digest
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.hooks.run_record import measured_with, run_id
from etram_mmdet.evaluation.results_table import append_row, compact


@HOOKS.register_module()
class ResultsCsvHook(Hook):
    """Append every evaluation to ``results.csv`` in the work folder, unrounded.

    With what tells it from others: the run that trained the weights, digest of the data, post-processing.
    """

    loaded_step = 0  # training step of the checkpoint that was loaded last

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.loaded_step = checkpoint.get("meta", {}).get("iter", 0)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.val_dataloader, runner.iter, metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.test_dataloader, self.loaded_step, metrics)

    @staticmethod
    @master_only
    def _write(runner: Runner, loader: DataLoader, step: int, metrics: dict | None) -> None:
        if metrics:
            dataset = as_streams(loader.dataset)
            origin = dict(
                split=dataset.split,
                step=step,
                run=run_id(runner),
                data=digest(dataset),
                test_cfg=compact(measured_with(runner.cfg)),
            )
            append_row(Path(runner.work_dir) / "results.csv", origin | metrics)
