"""A rank that ends once in the middle of a training, as a machine that fails would."""

from __future__ import annotations

import os

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class DieOnceHook(Hook):
    """Ends rank 1 before its step ``step``, unless torchrun has started it again."""

    def __init__(self, step: int) -> None:
        self.step = step

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        is_first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if runner.iter == self.step and runner.rank == 1 and is_first:
            os._exit(3)
