"""Memory of a training step, and the number of lanes that fit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import is_distributed
from mmengine.runner import Runner
from torch import Tensor, nn

from etram_mmdet.models.detectors.micro_batches import whole_batch_losses

BYTES_PER_PARAMETER = 16  # weight, gradient and AdamW's two moments in float32
LESS_MEMORY = "model.backbone.with_cp=True model.with_cp=True needs less memory for more time"


MOST_LANES = 512


def largest_batch(cost: Callable[[int], float], limit: float) -> dict[int, float]:
    """Search for the largest batch that fits, by doubling and then halving the gap.

    It ends at `MOST_LANES`: with ``micro_batch`` the cost hardly grows with the batch.

    Args:
        cost: cost of a batch size; it grows with the batch.
        limit: the largest cost that fits.

    Returns:
        Cost of each tried batch size that fits.
    """
    fitting = {}
    batch = 1
    while batch <= MOST_LANES and (value := cost(batch)) <= limit:
        fitting[batch] = value
        batch *= 2
    low, high = batch // 2, batch
    while fitting and low < MOST_LANES and high - low > 1:
        middle = (low + high) // 2
        if (value := cost(middle)) <= limit:
            low = middle
            fitting[middle] = value
        else:
            high = middle
    return fitting


def advice_when_out_of_memory(runner: Runner, data: dict) -> str:
    """Sentence with settings under which training fits the memory.

    Tries training steps on fewer lanes, which changes the weights: the training cannot go on.

    Args:
        runner: the runner of the training.
        data: the batch that did not fit.
    """
    batch = len(data["inputs"])
    at_once = min(getattr(runner.model, "module", runner.model).micro_batch or batch, batch)
    failed = f"out of memory at step {runner.iter + 1}: {at_once} lanes at a time do not fit"
    less = LESS_MEMORY
    in_parts = not whole_batch_losses(getattr(runner.model, "module", runner.model))
    if is_distributed():  # the other processes wait in this step, so nothing can be tried
        parts = f" or set model.micro_batch={max(1, at_once // 2)}" if in_parts else ""
        return f"{failed}; reduce train_dataloader.batch_size{parts}; {less}"

    def cost(lanes: int) -> float:
        return (
            0
            if lanes < at_once
            and _fits_in_memory(runner, {key: rows[:lanes] for key, rows in data.items()})
            else 1
        )

    fitting = max(largest_batch(cost, 0), default=0)
    if not fitting:
        return (
            f"{failed}, nor does one; {less}, as do a shorter clip_length and a larger patch_size"
        )
    smaller = f"train_dataloader.batch_size={fitting} trains a smaller batch"
    parts = f"model.micro_batch={fitting} trains the same batch of {batch} in parts"
    return (
        f"{failed}, but {fitting} would: --cfg-options "
        f"{f'{parts}, or {smaller}' if in_parts else smaller}; {less}"
    )


def _fits_in_memory(runner: Runner, data: dict) -> bool:
    runner.model.stream_states["loss"].reset()
    runner.optim_wrapper.zero_grad()
    gc.collect()
    torch.cuda.empty_cache()
    try:
        runner.model.train_step(data, runner.optim_wrapper)
    except torch.OutOfMemoryError:
        return False
    return True


def saved_bytes(model: nn.Module, data: dict) -> int:
    """Bytes that the forward pass of a training step keeps for its backward pass.

    Weights are excluded, and shared memory counts once. Counted with hooks on every saved tensor,
    so it is exact for autograd on any device and leaves out memory that the allocator wastes,
    gradients and the optimizer.

    Args:
        model: a detector.
        data: a batch as the loader gives it.
    """
    model.train()
    return saved_bytes_of(model, lambda: model(**model.data_preprocessor(data, True), mode="loss"))


def saved_bytes_of(model: nn.Module, forward: Callable[[], object]) -> int:
    """Like :func:`saved_bytes`, for any forward pass.

    Args:
        model: its weights are not counted.
        forward: function without arguments that does the forward pass and returns its result.
    """
    saved = SavedBytes(model)
    with saved.counted():
        result = forward()
    del result
    return saved.most


class SavedBytes:
    """Counts the bytes that forward passes keep for the backward pass.

    Args:
        model: its weights and buffers are not counted.

    Attributes:
        most: the bytes of the forward pass that kept the most.
    """

    def __init__(self, model: nn.Module) -> None:
        self.most = 0
        self._weights = {x.untyped_storage() for x in [*model.parameters(), *model.buffers()]}

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what lives at the end of the ``with`` block, which does one forward pass."""
        kept: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()  # keeps nothing alive

        def pack(tensor: Tensor) -> Tensor:
            kept.add(tensor.untyped_storage())
            return tensor.detach()  # a result that held its own graph would never be freed

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield
        size = sum(storage.nbytes() for storage in kept if storage not in self._weights)
        self.most = max(self.most, size)


def parameters(model: nn.Module) -> int:
    """Number of parameters of a model.

    Args:
        model: any module.
    """
    return sum(p.numel() for p in model.parameters())
