"""A training of one step: every part is built and called once, and nothing is kept."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmdet.registry import LOOPS
from mmengine.config import Config
from mmengine.dist import all_gather_object
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from etram_mmdet.engine.checkpoints.resumable import latest_checkpoint
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.engine.runner.memory import LESS_MEMORY
from etram_mmdet.engine.runner.stream_runner import StreamRunner
from etram_mmdet.engine.runner.work_folder import check_can_be_made
from etram_mmdet.evaluation.event_coco_metric import find_metric
from etram_mmdet.models.detectors.micro_batches import whole_batch_losses
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.interruption import stop_once

# Batches of validation in which a dry run searches for a box.
MOST_BATCHES = 20


def dry_run(cfg: Config) -> None:
    """Do one step and one short validation in a temporary folder, see :class:`DryRunLoop`.

    Args:
        cfg: a whole config, which is changed.
    """
    if cfg.get("resume") and cfg.get("load_from") is None:
        cfg.load_from = latest_checkpoint(cfg.work_dir)
    check_can_be_made(Path(cfg.work_dir))
    for hook in [*(cfg.get("default_hooks") or {}).values(), *(cfg.get("custom_hooks") or [])]:
        if isinstance(hook, dict):
            hook.pop("out_dir", None)
    with stop_once(), TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.train_cfg.type = "DryRunLoop"
        StreamRunner.from_cfg(cfg).train()


@LOOPS.register_module()
class DryRunLoop(IterBasedTrainLoop):
    """One step of training, which is undone, and one validation on a few frames.

    Every hook is called once at each of its points, whatever its interval: a checkpoint is saved,
    pictures are drawn, the metric is computed and its row is written, all into a temporary folder.

    Args:
        *args: arguments of mmengine's IterBasedTrainLoop.
        max_epochs: number of epochs that hooks see. Default: 1.
        **kwargs: arguments of mmengine's IterBasedTrainLoop.

    Raises:
        InputError: losses are not finite, or a part refuses its settings.
    """

    def __init__(self, *args, max_epochs: int = 1, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._max_epochs = max_epochs

    def run(self) -> nn.Module:
        with refused_settings(self.runner.cfg):
            return self._run()

    def _run(self) -> nn.Module:
        runner = self.runner
        start = time.monotonic()
        for hook in runner.hooks:
            _call_at_once(hook)
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        try:
            losses = self._train(next(iter(self.dataloader)))
        except torch.OutOfMemoryError as error:
            parts = "" if whole_batch_losses(runner.model) else ", and so does model.micro_batch=1"
            raise InputError(f"out of memory in the first step; {LESS_MEMORY}{parts}") from error
        found = self._validate() if runner.val_loop is not None else "no validation"
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        peak = (
            f", peak {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB"
            if torch.cuda.is_available()
            else ""
        )
        runner.logger.info(
            f"dry run: {losses}; {found}; {time.monotonic() - start:.1f} s{peak}. Nothing was kept"
        )
        return runner.model

    def _train(self, data: dict) -> str:
        runner = self.runner
        weights = {name: value.cpu().clone() for name, value in runner.model.state_dict().items()}
        runner.model.train()
        runner.call_hook("before_train_iter", batch_idx=0, data_batch=data)
        log = runner.model.train_step(data, optim_wrapper=runner.optim_wrapper)
        bad = [name for name, loss in log.items() if not torch.isfinite(loss)]
        if bad:
            raise InputError(
                f"{', '.join(bad)} is not finite (NaN or infinity) in the first batch; inspect the "
                "data: tools/inspect_data.py"
            )
        # a resumed training may have no step left, and its schedule none either
        if self.iter < self.max_iters:
            runner.call_hook("after_train_iter", batch_idx=0, data_batch=data, outputs=log)
            self._iter += 1
        # one step at a high rate may leave boxes that are not finite
        runner.model.load_state_dict(weights)
        return ", ".join(f"{name} {loss.item():.3g}" for name, loss in log.items())

    def _validate(self) -> str:
        """Validate batches up to the first with a box: without boxes a metric gives no number."""
        runner, loop = self.runner, self.runner.val_loop
        runner.call_hook("before_val")
        runner.call_hook("before_val_epoch")
        runner.model.eval()
        has_truth = False
        for batch_idx, data in enumerate(islice(loop.dataloader, MOST_BATCHES)):
            loop.run_iter(batch_idx, data)
            has_truth = any(all_gather_object(_has_truth(loop.evaluator, data)))
            if has_truth:
                break
        if not has_truth:
            return (
                f"no box in the first {batch_idx + 1} batches of validation, so no metric was tried"
            )
        metrics = loop.evaluator.evaluate(len(loop.dataloader.dataset))
        runner.call_hook("after_val_epoch", metrics=metrics)
        runner.call_hook("after_val")
        return f"validation of {batch_idx + 1} batches gives {len(metrics)} numbers"


def _call_at_once(hook: Hook) -> None:
    """Let a hook act at the first step and the first batch."""
    if isinstance(getattr(hook, "interval", None), int) and hook.interval > 0:
        hook.interval = 1
    if hasattr(hook, "save_begin"):
        hook.save_begin = 0


def _has_truth(evaluator: Evaluator, data: dict) -> bool:
    metric = find_metric(evaluator)
    if metric is None:
        return any(len(frame.gt_instances) for track in data["data_samples"] for frame in track)
    kept, _ = metric.protocols[0].select_columns(metric.results.columns())
    return len(kept.truth.labels) > 0
