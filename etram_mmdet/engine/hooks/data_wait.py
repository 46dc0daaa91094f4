"""How long training waits for data."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Log the share of time that training waits for data, and advise once when it is more than ``most``.

    Reads what ``IterTimerHook`` has measured, over the last ``interval`` steps.
    """

    def __init__(self, interval: int = 50, most: float = 0.3) -> None:
        self.interval = interval
        self.most = most
        self._has_advised = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        times = (runner.message_hub.get_scalar(f"train/{name}").mean(self.interval) for name in ("data_time", "time"))
        waiting, step = times
        share = float(waiting / step) if step else 0.0
        runner.message_hub.update_scalar("train/data_share", share)
        # the first step starts the processes
        if share > self.most and runner.iter and not self._has_advised:
            self._has_advised = True
            workers = runner.train_dataloader.num_workers
            runner.logger.warning(
                f"{share:.0%} of the time goes into waiting for data: raise train_dataloader.num_workers "
                f"(now {workers}) or preprocess recordings that are read raw"
            )
