"""Stop a training whose loss or weights are not finite."""

from __future__ import annotations

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from etram_mmdet.engine.runner.divergence import LOWER_THE_RATE, check_finite_weights


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops when a loss is not finite; the error names the loss and the step.

    Losses are read every ``interval`` steps only, since reading makes a GPU wait. Reading them more
    often would save nothing: the weights are already lost at the first bad step. Weights are
    checked before each validation and before each checkpoint, so that no bad checkpoint replaces
    the last good one.

    Args:
        interval: steps between two checks of the losses. Default: 50.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        bad = _not_finite(outputs)
        if bad:
            raise FloatingPointError(
                f"{', '.join(bad)} is not finite (NaN or infinity) at step {runner.iter + 1}; the "
                f"last check was {self.interval} steps before. {LOWER_THE_RATE}"
            )

    def before_val(self, runner: Runner) -> None:
        check_finite_weights(runner.model, f"validation at step {runner.iter}")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check_finite_weights(runner.model, f"step {checkpoint['meta']['iter']} was not saved")


def _not_finite(losses: dict) -> list[str]:
    """Names of the losses that are not finite; a GPU is read once for all of them."""
    if not losses:
        return []
    tensors = [torch.as_tensor(loss) for loss in losses.values()]
    device = max((tensor.device for tensor in tensors), key=lambda each: each.type != "cpu")
    is_finite = torch.stack([torch.isfinite(tensor).all().to(device) for tensor in tensors])
    return [name for name, fine in zip(losses, is_finite.tolist(), strict=True) if not fine]
