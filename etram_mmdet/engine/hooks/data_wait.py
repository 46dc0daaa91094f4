"""Measure how long training waits for data."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Logs the share of time that training waits for data, and advises once if it is large.

    Reads the times that mmengine's ``IterTimerHook`` measures.

    Args:
        interval: steps between two log entries, over which times are averaged. Default: 50.
        most: share of the time, 0 to 1, above which the advice comes. Default: 0.3.
    """

    def __init__(self, interval: int = 50, most: float = 0.3) -> None:
        self.interval = interval
        self.most = most
        self._has_advised = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        times = (
            runner.message_hub.get_scalar(f"train/{name}").mean(self.interval)
            for name in ("data_time", "time")
        )
        waiting, step = times
        share = float(waiting / step) if step else 0.0
        runner.message_hub.update_scalar("train/data_share", share)
        # the first step starts the processes
        if share > self.most and runner.iter and not self._has_advised:
            self._has_advised = True
            workers = runner.train_dataloader.num_workers
            runner.logger.warning(
                f"training waits for data {share:.0%} of the time: raise "
                f"train_dataloader.num_workers (now {workers}), or preprocess raw recordings with "
                "tools/preprocess.py"
            )
