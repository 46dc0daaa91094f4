"""Pass the statistics of the training boxes to losses, heads and assigners."""

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

    It does so after weights are loaded, since these may come from other data.

    Raises:
        InputError: ``micro_batch`` splits batches that a loss needs whole.
    """

    priority = "HIGH"

    def before_train(self, runner: Runner) -> None:
        check_parts(runner.model)
        notes = fit_to_data(runner.model, runner.train_dataloader.dataset)
        for note in notes:
            runner.logger.info(note)
        if isinstance(runner, StreamRunner):
            runner.notes += tuple(notes)
