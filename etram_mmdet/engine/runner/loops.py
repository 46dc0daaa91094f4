"""Training over endless streams."""

from __future__ import annotations

import torch
from mmdet.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from etram_mmdet.engine.runner.memory import advice_when_out_of_memory
from etram_mmdet.utils.errors import InputError


class _StreamIterator:
    """Batches of an endless loader; a position is reached by asking the sampler, not by loading what lies before."""

    def __init__(self, dataloader: DataLoader) -> None:
        self.dataloader = dataloader
        self._batches = None

    def __next__(self) -> dict:
        if self._batches is None:
            self._batches = iter(self.dataloader)
        return next(self._batches)

    def skip_iter(self, iterations: int) -> None:
        self.dataloader.batch_sampler.seek(iterations)
        self._batches = None


@LOOPS.register_module()
class StreamTrainLoop(IterBasedTrainLoop):
    """Iteration-based training whose resumption costs nothing, whatever the iteration.

    Raises:
        InputError: where a step does not fit the memory, with the number of lanes that does.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if hasattr(self.dataloader.batch_sampler, "seek"):  # others are finite: mmengine begins them anew
            self.dataloader_iterator = _StreamIterator(self.dataloader)

    def run(self) -> nn.Module:
        """Validates also where a kill came between the last step's checkpoint and its validation."""
        has_no_step_left = self.iter >= self.max_iters
        model = super().run()
        if has_no_step_left and self.runner.val_loop is not None and self.iter >= self.val_begin:
            self.runner.val_loop.run()
        return model

    def run_iter(self, data_batch: dict) -> None:
        try:
            return super().run_iter(data_batch)
        except torch.OutOfMemoryError:
            pass  # only outside this block does the error let go of the step's tensors
        raise InputError(advice_when_out_of_memory(self.runner, data_batch))
