"""Every evaluation as a row of ``results.csv``."""

from __future__ import annotations

from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import broadcast_object_list, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from etram_mmdet.datasets.statistics import digest
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.hooks.run_record import measured_with, run_id
from etram_mmdet.evaluation.results_table import append_row, compact, evaluations


def validations(runner: Runner) -> list[dict[str, str]]:
    """Rows of the validations of this training so far, in order of steps.

    There are none if the file is damaged. All processes get the rows that the first one reads, so
    that they decide alike. So every process has to call this.

    Args:
        runner: the runner of the training.
    """
    dataset = as_streams(runner.val_dataloader.dataset)
    record = dict(
        run=run_id(runner),
        test_cfg=measured_with(runner.cfg),
        val_data=dict(sha256=digest(dataset)),
    )
    try:
        rows = evaluations(Path(runner.work_dir) / "results.csv", dataset.split, record)
    except ValueError:
        rows = []
    found = [rows]
    broadcast_object_list(found)
    return found[0]


@HOOKS.register_module()
class ResultsCsvHook(Hook):
    """Appends every evaluation to ``results.csv`` in the work folder, unrounded.

    A row also holds the run that trained the weights, a digest of the data, and the
    post-processing. The row is written last, so that a validation with a row is complete, pictures
    and best checkpoint included. A run that is resumed at the step of a validation without a row
    validates first. A run that repeats a validation, because it was resumed from an earlier step,
    replaces the row.
    """

    priority = "LOWEST"
    loaded_step = 0  # training step of the checkpoint that was loaded last

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.loaded_step = checkpoint.get("meta", {}).get("iter", 0)

    def before_train_epoch(self, runner: Runner) -> None:
        loop = runner.train_loop
        if runner.iter and getattr(loop, "is_validation_due", False) and not self._has_row(runner):
            runner.logger.info(
                f"the validation at step {runner.iter} has no row in results.csv, so it runs first"
            )
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.val_dataloader, runner.iter, metrics, is_once=True)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.test_dataloader, self.loaded_step, metrics)

    @staticmethod
    def _has_row(runner: Runner) -> bool:
        return any(int(row["step"]) == runner.iter for row in validations(runner))

    @staticmethod
    @master_only
    def _write(
        runner: Runner, loader: DataLoader, step: int, metrics: dict | None, is_once: bool = False
    ) -> None:
        if metrics:
            dataset = as_streams(loader.dataset)
            origin = dict(
                split=dataset.split,
                step=step,
                run=run_id(runner),
                data=digest(dataset),
                test_cfg=compact(measured_with(runner.cfg)),
            )
            append_row(
                Path(runner.work_dir) / "results.csv",
                origin | metrics,
                tuple(origin) if is_once else (),
            )
