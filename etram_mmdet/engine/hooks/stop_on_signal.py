"""End a training after a signal, at a step from which it can be resumed."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from etram_mmdet.engine.config.complete import added_up
from etram_mmdet.engine.hooks.checkpoint import CheckpointHook
from etram_mmdet.engine.runner.signals import exit_status


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """Ends a training after SIGTERM or SIGINT: finishes the step, saves a checkpoint, and exits.

    The exit status is 143 or 130 (``SystemExit``). All processes of a training end after the same
    step, also if only one got the signal. If gradients of several steps are added up
    (``accumulative_counts``), the training ends after the last of these steps. A validation ends
    after its batch, and ``--resume`` repeats it.
    """

    # after everything that belongs to the step, the regular checkpoint included
    priority = "LOWEST"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        self._stop_if_told(runner, runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: list
    ) -> None:
        self._stop_if_told(runner, runner.iter, is_validating=True)

    @staticmethod
    def _stop_if_told(runner: Runner, step: int, is_validating: bool = False) -> None:
        signals = getattr(runner._train_loop, "stop_signals", None)  # other loops have none
        number = signals.agreed() if signals else 0
        if not number or step % added_up(runner.cfg):
            return
        for hook in runner.hooks if is_validating else ():
            # a validation uses averaged weights: go back to those that are trained
            if isinstance(hook, EMAHook):
                hook.after_val_epoch(runner)
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        for hook in hooks:
            hook.save(runner, step)
        signals.wait_for_others()
        then = (
            "go on with --resume auto"
            if hooks
            else "nothing was saved, since the config has no CheckpointHook"
        )
        runner.logger.warning(f"ended by a signal after step {step}; {then}")
        raise SystemExit(exit_status(number))
