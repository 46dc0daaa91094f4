"""What happens around training steps and validations."""

from __future__ import annotations

from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from etram_mmdet.datasets.fingerprint import digest
from etram_mmdet.engine.checkpoint import load_checkpoint_file, make_plain
from etram_mmdet.engine.run_record import measured_with, run_id
from etram_mmdet.evaluation.results_csv import append_row, compact
from etram_mmdet.events.errors import InputError


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keep checkpoints plain, and what they say about files inside the folder of checkpoints.

    A checkpoint holds nothing that would have to be unpickled. The best checkpoint so far, which the next better one
    replaces, is looked for by its name beside the others: a checkpoint may have been copied, or come from a stranger.
    Runs after every other hook.
    """

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best is not None:
                if len(hook.key_indicators) == 1:
                    hook.best_ckpt_path = _inside(hook.out_dir, hook.best_ckpt_path)
                else:
                    paths = hook.best_ckpt_path_dict
                    hook.best_ckpt_path_dict = {key: _inside(hook.out_dir, path) for key, path in paths.items()}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        make_plain(checkpoint, runner.cfg)


def _inside(folder: str, path: str | None) -> str | None:
    """The checkpoint in ``folder`` that has the name of ``path``, or nothing where there is no such checkpoint.

    mmengine removes it, or reads it whole where ``published_keys`` are set, so it has to be one that is plain.
    """
    if path is None:
        return None
    inside = Path(folder) / Path(path).name
    try:
        load_checkpoint_file(inside)
    except (InputError, OSError):
        return None
    return str(inside)


@HOOKS.register_module()
class ResultsCsvHook(Hook):
    """Append every evaluation to ``results.csv`` in the work folder, unrounded.

    With what tells it from others: the run that trained the weights, digest of the data, post-processing.
    """

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.val_dataloader, runner.iter, metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.test_dataloader, runner.loaded_step, metrics)

    @staticmethod
    @master_only
    def _write(runner: Runner, loader: DataLoader, step: int, metrics: dict | None) -> None:
        if metrics:
            origin = dict(
                split=loader.dataset.split,
                step=step,
                run=run_id(runner),
                data=digest(loader.dataset),
                test_cfg=compact(measured_with(runner.cfg)),
            )
            append_row(Path(runner.work_dir) / "results.csv", origin | metrics)


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


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Log the share of time that training waits for data, and advise once when it is more than ``most``.

    Reads what ``IterTimerHook`` has measured, over the last ``interval`` steps.
    """

    def __init__(self, interval: int = 50, most: float = 0.3) -> None:
        self.interval, self.most, self._has_advised = interval, most, False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        times = (runner.message_hub.get_scalar(f"train/{name}").mean(self.interval) for name in ("data_time", "time"))
        waiting, step = times
        share = float(waiting / step) if step else 0.0
        runner.message_hub.update_scalar("train/data_share", share)
        if share > self.most and not self._has_advised:
            self._has_advised = True
            workers = runner.train_dataloader.num_workers
            runner.logger.warning(
                f"{share:.0%} of the time goes into waiting for data: raise train_dataloader.num_workers "
                f"(now {workers}) or preprocess recordings that are read raw"
            )
