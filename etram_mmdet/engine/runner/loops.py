"""Training over endless streams."""

from __future__ import annotations

import random
import time

import numpy as np
import torch
from mmdet.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from etram_mmdet.engine.runner.divergence import check_diverged
from etram_mmdet.engine.runner.histories import longest_window, thin
from etram_mmdet.engine.runner.memory import LESS_MEMORY, advice_when_out_of_memory
from etram_mmdet.engine.runner.signals import StopSignals
from etram_mmdet.models.detectors.micro_batches import split_lanes, whole_batch_losses
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.random_numbers import derived_seed


def seed_everything(seed: int) -> None:
    """Start the global generators of Python, numpy and PyTorch, which parts of others draw from, at ``seed``."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)


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
class DryRunLoop(IterBasedTrainLoop):
    """One batch forward and backward and one batch of validation, on everything that a training would use.

    No weight changes. Raises ``InputError`` for losses that are not finite, and what the parts themselves raise.
    """

    def run(self) -> nn.Module:
        runner = self.runner
        start = time.monotonic()
        runner.call_hook("before_train")
        try:
            losses = self._train(next(iter(self.dataloader)))
        except torch.OutOfMemoryError as error:
            parts = "" if whole_batch_losses(runner.model) else ", and so does model.micro_batch=1"
            raise InputError(f"out of memory in the first step; {LESS_MEMORY}{parts}") from error
        found = self._validate() if runner.val_loop is not None else "no validation"
        peak = f", peak {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB" if torch.cuda.is_available() else ""
        runner.logger.info(f"dry run: {losses}; {found}; {time.monotonic() - start:.1f} s{peak}. Nothing was kept")
        return runner.model

    def _train(self, data: dict) -> str:
        wrapper = self.runner.optim_wrapper
        detector = getattr(self.runner.model, "module", self.runner.model)
        self.runner.model.train()
        part = split_lanes(data, getattr(detector, "micro_batch", None))[0]
        with wrapper.optim_context(self.runner.model):
            losses = self.runner.model(**detector.data_preprocessor(part, True), mode="loss")
        total, log = detector.parse_losses(losses)
        bad = [name for name, loss in log.items() if not torch.isfinite(loss)]
        if bad:
            raise InputError(
                f"{', '.join(bad)} is not finite in the first batch; inspect the data: tools/inspect_data.py"
            )
        wrapper.backward(total)
        wrapper.zero_grad()
        return ", ".join(f"{name} {loss.item():.3g}" for name, loss in log.items())

    @torch.no_grad()
    def _validate(self) -> str:
        loop = self.runner.val_loop
        self.runner.model.eval()
        data = next(iter(loop.dataloader))
        outputs = self.runner.model.val_step(data)
        loop.evaluator.process(data_samples=outputs, data_batch=data)
        return f"{sum(len(sample.pred_instances) for sample in outputs)} detections in {len(outputs)} frames"


@LOOPS.register_module()
class StreamTrainLoop(IterBasedTrainLoop):
    """Iteration-based training whose resumption costs nothing, whatever the iteration.

    Random numbers of a step, such as those of dropout, follow from seed and step: a resumed run draws the same.

    Raises:
        InputError: where a step does not fit the memory, with the number of lanes that does.
        FloatingPointError: where a step stops at numbers that are not finite.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.stop_signals = StopSignals()
        if hasattr(self.dataloader.batch_sampler, "seek"):  # others are finite: mmengine begins them anew
            self.dataloader_iterator = _StreamIterator(self.dataloader)

    def run(self) -> nn.Module:
        """Train; SIGTERM and SIGINT end it, see :class:`StopOnSignalHook`."""
        with self.stop_signals:
            return super().run()

    @property
    def is_validation_due(self) -> bool:
        """Whether a validation follows on the step that was done last."""
        self._decide_current_val_interval()
        is_step = self.iter % self.val_interval == 0 or self.iter == self.max_iters
        return self.runner.val_loop is not None and self.iter >= self.val_begin and is_step

    def run_iter(self, data_batch: dict) -> None:
        seed_everything(derived_seed((self.runner.seed,), "step", self.iter))
        try:
            super().run_iter(data_batch)
        except torch.OutOfMemoryError:
            pass  # only outside this block does the error let go of the step's tensors
        except (InputError, FloatingPointError, OSError):
            raise  # they say themselves what happened
        except Exception as error:
            check_diverged(error, self.runner, data_batch)
            raise
        else:
            thin(self.runner.message_hub.log_scalars, longest_window(self.runner.log_processor))
            return
        raise InputError(advice_when_out_of_memory(self.runner, data_batch))
