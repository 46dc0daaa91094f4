"""Tell losses, heads and assigners the statistics of the training boxes."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from etram_mmdet.engine.runner.stream_runner import StreamRunner
from etram_mmdet.models.building import fit_to_data
from etram_mmdet.models.detectors.micro_batches import check_parts


@HOOKS.register_module()
class FitToDataHook(Hook):
    """Calls :func:`fit_to_data` before the first step.

    That is after weights were loaded, since these may come from other data.

    Raises:
        InputError: ``micro_batch`` cuts batches that a loss needs whole.
    """

    priority = "HIGH"

    def before_train(self, runner: Runner) -> None:
        check_parts(runner.model)
        notes = fit_to_data(runner.model, runner.train_dataloader.dataset)
        for note in notes:
            runner.logger.info(note)
        if isinstance(runner, StreamRunner):
            runner.notes += tuple(notes)
