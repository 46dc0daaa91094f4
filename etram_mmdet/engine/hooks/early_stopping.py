"""mmengine's ``EarlyStoppingHook``, whose patience survives a stop of the training."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import early_stopping_hook
from mmengine.runner import Runner

from etram_mmdet.engine.hooks.results_csv import validations


@HOOKS.register_module()
class EarlyStoppingHook(early_stopping_hook.EarlyStoppingHook):
    """mmengine's ``EarlyStoppingHook``, whose patience survives a stop of the training.

    It has mmengine's name, so that every config uses it. mmengine's own starts its count again when
    a run is resumed. This one first counts the validations in ``results.csv``, up to the step of
    the checkpoint.
    """

    def before_train(self, runner: Runner) -> None:
        for row in validations(runner) if runner.iter and runner.val_loop else []:
            if int(row["step"]) <= runner.iter and self.monitor in row:
                self.after_val_epoch(runner, {self.monitor: float(row[self.monitor])})
