"""Log losses without waiting for the GPU at every step."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from torch import Tensor

from etram_mmdet.engine.runner.lazy_history import LazyHistory, Unread


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, which leaves losses on the GPU until somebody asks for them.

    mmengine's hook reads every loss at every step, and each time the host waits until the GPU has
    finished. Here the logger reads the losses of all steps since its last line at once. Histories
    and log are the same. Losses on a CPU are read at every step.
    """

    def __init__(self) -> None:
        self.unread = Unread()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        outputs = outputs or {}
        late = {name: value for name, value in outputs.items() if _is_on_gpu(value)}
        at_once = {name: value for name, value in outputs.items() if name not in late}
        super().after_train_iter(runner, batch_idx, data_batch, at_once)
        histories = [self._history(runner.message_hub, f"train/{name}") for name in late]
        self.unread.add(histories, list(late.values()))

    def _history(self, hub: MessageHub, name: str) -> LazyHistory:
        if name not in hub.log_scalars:
            hub.update_scalar(name, 0.0)  # makes the name known
            hub.log_scalars[name] = HistoryBuffer()
        history = hub.log_scalars[name]
        # one that was resumed or thinned is mmengine's
        if not isinstance(history, LazyHistory) or history.unread is not self.unread:
            history = hub.log_scalars[name] = LazyHistory(history, self.unread)
        return history


def _is_on_gpu(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type != "cpu" and value.numel() == 1
