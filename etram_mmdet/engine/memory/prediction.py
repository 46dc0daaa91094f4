"""Peak memory of a training step, predicted before it is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass

import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn

from etram_mmdet.engine.memory.cuda_rules import CudaRules
from etram_mmdet.engine.memory.fake_model import fake_clips, fake_copy, fake_maker
from etram_mmdet.engine.memory.live_bytes import LiveBytes, block_bytes
from etram_mmdet.engine.runner.memory import SavedBytes
from etram_mmdet.testing import BOXES_PER_FRAME
from etram_mmdet.utils.cli.detection import PRECISIONS
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import first_line

POSITIVES_PER_BOX = 10  # the most that SimOTA matches to a box
# What cuBLAS and cuDNN take besides tensors: an H200 took 90 to 160 MiB more than the tensors of
# seven configs (docs/benchmarks.md).
WORKSPACE_BYTES = 2**27
# Holes between tensors in the memory that PyTorch has reserved, as a share of the peak, and CUDA's
# own memory on the card. Neither was measured on a card that was full.
HOLES = 0.05
CONTEXT_BYTES = 2**29


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step, as a GPU's allocator would count them.

    Attributes:
        weights: parameters and buffers.
        gradients: gradients of all parameters that are trained.
        optimizer: what the optimizer keeps for them.
        averaged: averaged weights of an ``EMAHook``.
        kept: what the forward pass keeps for the backward pass, without weights.
        peak: the most that lives at one time, all of the above included where it lives then.
        workspaces: what a GPU's libraries take besides tensors.
    """

    weights: int
    gradients: int
    optimizer: int
    averaged: int
    kept: int
    peak: int
    workspaces: int

    @property
    def allocated(self) -> int:
        """The largest memory that PyTorch allocates, ``torch.cuda.max_memory_allocated()``."""
        return self.peak + self.workspaces

    @property
    def needed(self) -> int:
        """Memory of a card on which the step fits, with holes and CUDA's own memory."""
        if not self.workspaces:
            return self.peak
        return round((1 + HOLES) * self.allocated) + CONTEXT_BYTES

    def to_dict(self) -> dict[str, int]:
        """The bytes by name."""
        return asdict(self) | dict(allocated=self.allocated, needed=self.needed)


def training_precision(cfg: Mapping) -> str:
    """Number format of a config's training on a GPU: that of its ``AmpOptimWrapper``, or float32.

    Args:
        cfg: a whole config, before it was completed for a CPU.
    """
    wrapper = cfg.get("optim_wrapper") or {}
    is_mixed = str(wrapper.get("type", "")).endswith("AmpOptimWrapper")
    return (wrapper.get("dtype") or "float16") if is_mixed else "float32"


def predict_step(
    cfg: Mapping,
    model: nn.Module,
    hw: tuple[int, int],
    batch: int,
    clip: int,
    precision: str,
    device: str = "cuda",
    label_every: int = 2,
) -> StepMemory:
    """Predict the memory of a training step in steady state, in one process.

    The whole step runs on tensors without memory: forward pass, losses, backward pass, clipping
    and optimizer, with ``model.micro_batch`` and checkpointing as the config has them.

    Args:
        cfg: a whole config, from which the optimizer is built.
        model: detector of the config, on any device; it is not changed.
        hw: height and width of a frame, in pixels.
        batch: clips in a batch.
        clip: frames in a clip.
        precision: ``float32``, or the format of mixed precision.
        device: "cuda" or "cpu", where the step would run. Default: "cuda".
        label_every: every frame whose number this divides is labelled. Default: 2.

    Raises:
        InputError: this PyTorch has no fake tensors, the optimizer or the precision cannot be used,
            or the model reads numbers in a way that cannot be imitated.
    """
    like = fake_maker()
    fake = fake_copy(model, like).train()
    data = fake_clips(fake, like, batch, clip, hw, label_every)
    saved = SavedBytes(fake)
    if precision not in PRECISIONS:
        raise InputError(
            f"optim_wrapper.dtype={precision!r}: expected one of {', '.join(PRECISIONS)}"
        )
    with _named_optimizer(cfg):
        wrapper = _wrapper(cfg, fake, precision, saved)
        is_added_up = cfg["optim_wrapper"].get("accumulative_counts", 1) > 1
        optimizer = _start(wrapper, fake, is_added_up)
    steady = [*fake.parameters(), *fake.buffers(), *optimizer, *_gradients(fake)]
    found = POSITIVES_PER_BOX * BOXES_PER_FRAME * batch * -(-clip // label_every)
    averaged = _bytes([*fake.parameters(), *fake.buffers()]) if _averages(cfg) else 0
    with CudaRules() if device == "cuda" else nullcontext(), LiveBytes(steady, found) as live:
        _step(fake, data, wrapper)
    return StepMemory(
        weights=_bytes([*fake.parameters(), *fake.buffers()]),
        gradients=_bytes(p for p in fake.parameters() if p.requires_grad),
        optimizer=_bytes(optimizer),
        averaged=averaged,
        kept=saved.most,
        peak=live.peak + _bytes(steady) + averaged,
        workspaces=WORKSPACE_BYTES if device == "cuda" else 0,
    )


def _step(model: nn.Module, data: dict, wrapper: OptimWrapper) -> None:
    try:
        model.train_step(data, wrapper)
    except InputError:
        raise
    except Exception as error:  # a plugin may do anything with numbers that are not there
        raise InputError(
            f"{type(model).__name__}: its memory cannot be predicted, because a part needs the "
            f"numbers and not only their shapes ({type(error).__name__}: {first_line(error)}); "
            "measure it on the GPU with tools/benchmark.py --sweep GIB"
        ) from error


@contextmanager
def _named_optimizer(cfg: Mapping) -> Iterator[None]:
    """Turn errors of an optimizer, about its settings or its first step, into a sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        optimizer = cfg["optim_wrapper"].get("optimizer") or {}
        raise InputError(
            f"optim_wrapper.optimizer: {optimizer.get('type')} cannot be used "
            f"({type(error).__name__}: {first_line(error)}); choose another type, such as AdamW"
        ) from error


def _wrapper(cfg: Mapping, model: nn.Module, precision: str, saved: SavedBytes) -> OptimWrapper:
    """The config's optimizer, whose forward pass runs in ``precision`` and is watched."""
    settings = dict(cfg["optim_wrapper"], type="OptimWrapper")
    for key in ("dtype", "loss_scale"):
        settings.pop(key, None)
    wrapper = build_optim_wrapper(model, settings)
    dtype = getattr(torch, precision)

    @contextmanager
    def optim_context(model: nn.Module) -> Iterator[None]:
        with torch.autocast("cpu", dtype, enabled=precision != "float32"), saved.counted():
            yield

    wrapper.optim_context = optim_context
    return wrapper


def _start(wrapper: OptimWrapper, model: nn.Module, is_added_up: bool) -> list[Tensor]:
    """Let the optimizer make what it keeps; gradients stay if steps add them up."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
    wrapper.optimizer.step()
    if not is_added_up:
        wrapper.zero_grad()
    states = wrapper.optimizer.state.values()
    return [each for state in states for each in state.values() if isinstance(each, Tensor)]


def _gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def _averages(cfg: Mapping) -> bool:
    hooks = cfg.get("custom_hooks") or []
    return any(str(hook.get("type", "")).endswith("EMAHook") for hook in hooks)


def _bytes(tensors: object) -> int:
    storages = {tensor.untyped_storage() for tensor in tensors}
    return sum(block_bytes(storage.nbytes()) for storage in storages)
