"""Stop a training whose loss is not finite."""

from __future__ import annotations

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


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
