"""Training over endless streams."""

from __future__ import annotations

import torch
from mmdet.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop, loops, set_random_seed
from torch import nn
from torch.utils.data import DataLoader

from etram_mmdet.engine.runner.divergence import check_diverged
from etram_mmdet.engine.runner.histories import longest_window, thin
from etram_mmdet.engine.runner.memory import advice_when_out_of_memory
from etram_mmdet.engine.runner.signals import StopSignals
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.random_numbers import derived_seed


class _StreamIterator:
    """Batches of an endless loader.

    A position is reached by moving the sampler there, not by loading the batches before it.
    """

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
class EpochBasedTrainLoop(loops.EpochBasedTrainLoop):
    """mmengine's loop of epochs, refused for samplers that have no end.

    :class:`StreamRunner` turns epochs into steps; other runners cannot end one here.

    Raises:
        InputError: the sampler is endless, as ``StreamBatchSampler`` is.
    """

    def run(self) -> nn.Module:
        if hasattr(self.dataloader.batch_sampler, "seek"):
            raise InputError(
                "train_cfg.type=EpochBasedTrainLoop: the sampler of streams is endless, and only "
                "StreamRunner knows where an epoch ends; set runner_type='StreamRunner', or count "
                "steps with StreamTrainLoop"
            )
        return super().run()


@LOOPS.register_module()
class StreamTrainLoop(IterBasedTrainLoop):
    """Iteration-based training that resumes at any step without loading earlier batches.

    Random numbers of a step, such as those of dropout, follow from seed and step: a resumed run
    draws the same.

    Args:
        *args: arguments of mmengine's IterBasedTrainLoop.
        max_epochs: number of epochs of equal length into which the training is divided for hooks.
            Streams go on from one to the next. A validation at the end of an epoch comes before the
            hooks' ``after_train_epoch``. Default: 1.
        **kwargs: arguments of mmengine's IterBasedTrainLoop.

    Raises:
        InputError: a step does not fit the memory; the message gives the number of lanes that do.
        FloatingPointError: a step fails because of NaN or infinity.
    """

    def __init__(self, *args, max_epochs: int = 1, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._max_epochs = max_epochs
        self.stop_signals = StopSignals()
        # other samplers end, and mmengine starts them again
        if hasattr(self.dataloader.batch_sampler, "seek"):
            self.dataloader_iterator = _StreamIterator(self.dataloader)

    def run(self) -> nn.Module:
        """Train; SIGTERM and SIGINT end it, see :class:`StopOnSignalHook`."""
        self._epoch = self._epoch_of_step()
        with self.stop_signals:
            return super().run()

    @property
    def is_validation_due(self) -> bool:
        """Whether a validation follows on the step that was done last."""
        self._decide_current_val_interval()
        is_step = self.iter % self.val_interval == 0 or self.iter == self.max_iters
        return self.runner.val_loop is not None and self.iter >= self.val_begin and is_step

    def _epoch_of_step(self) -> int:
        return min(self.iter * self.max_epochs // self.max_iters, self.max_epochs - 1)

    def run_iter(self, data_batch: dict) -> None:
        if self._epoch_of_step() > self._epoch:
            self.runner.call_hook("after_train_epoch")
            self._epoch += 1
            self.runner.call_hook("before_train_epoch")
        set_random_seed(derived_seed((self.runner.seed,), "step", self.iter) % 2**32)
        try:
            super().run_iter(data_batch)
        except torch.OutOfMemoryError:
            pass  # only outside this block does the error let go of the step's tensors
        except (InputError, FloatingPointError, OSError):
            raise  # their own messages are clear
        except Exception as error:
            check_diverged(error, self.runner, data_batch)
            raise
        else:
            thin(self.runner.message_hub.log_scalars, longest_window(self.runner.log_processor))
            return
        raise InputError(advice_when_out_of_memory(self.runner, data_batch))
