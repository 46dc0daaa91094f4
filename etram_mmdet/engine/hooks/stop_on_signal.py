"""End a training that was told to, at a moment from which it can go on."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from etram_mmdet.engine.config.complete import added_up
from etram_mmdet.engine.runner.signals import exit_status


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """After SIGTERM or SIGINT: end the step, save a checkpoint, exit with status 143 or 130.

    All processes of a training end after the same step, also where one alone got the signal. Where gradients of several
    steps are added up (``accumulative_counts``), the last of these steps is the end. A validation ends after its batch
    and is repeated by ``--resume``. Raises ``SystemExit``.
    """

    priority = "LOWEST"  # after everything that belongs to the step, the regular checkpoint included

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        self._stop_if_told(runner, runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: list) -> None:
        self._stop_if_told(runner, runner.iter)

    @staticmethod
    def _stop_if_told(runner: Runner, step: int) -> None:
        number = runner.stop_signals.agreed()
        if not number or step % added_up(runner.cfg):
            return
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                _save(hook, runner, step)
        runner.stop_signals.wait_for_others()
        runner.logger.warning(f"ended by a signal after step {step}; go on with --resume")
        raise SystemExit(exit_status(number))


def _save(hook: CheckpointHook, runner: Runner, step: int) -> None:
    """Unless the regular checkpoint of this step is there."""
    if not str(hook.last_ckpt).endswith(hook.filename_tmpl.format(step)):
        hook._save_checkpoint_with_step(runner, step, meta=dict(epoch=runner.epoch, iter=step))
