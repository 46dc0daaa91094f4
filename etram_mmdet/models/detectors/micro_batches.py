"""One optimiser step from several passes over parts of a batch that does not fit the memory."""

from __future__ import annotations

from contextlib import nullcontext

from mmdet.models.losses import GHMC, GHMR, EQLV2Loss, SeesawLoss
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn

from etram_mmdet.utils.errors import InputError

# mmdet's losses that keep statistics of earlier calls, or count the boxes of a batch by difficulty.
_OF_WHOLE_BATCHES = (EQLV2Loss, GHMC, GHMR, SeesawLoss)


def whole_batch_losses(model: nn.Module) -> list[str]:
    """Names of the losses and heads of a detector that cannot train on a batch in parts.

    Their loss for one box depends on the other boxes of the batch. They have an attribute
    ``needs_whole_batch = True``; some of mmdet's are known by their class.

    Args:
        model: a detector.
    """
    return [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if isinstance(module, _OF_WHOLE_BATCHES) or getattr(module, "needs_whole_batch", False)
    ]


def check_parts(model: nn.Module) -> None:
    """Refuse to train a batch in parts with losses that need the whole batch.

    Args:
        model: a detector, with or without the wrapper of several processes.

    Raises:
        InputError: ``micro_batch`` is set, and a loss needs the whole batch.
    """
    detector = getattr(model, "module", model)
    micro_batch = getattr(detector, "micro_batch", None)
    losses = whole_batch_losses(detector) if micro_batch else []
    if losses:
        raise InputError(
            f"model.micro_batch={micro_batch}, but {', '.join(losses)} needs the whole batch at "
            "once: it keeps statistics of the boxes that it sees, compares them with each other or "
            "counts some of them alone. Leave micro_batch out and set a smaller "
            "train_dataloader.batch_size with optim_wrapper.accumulative_counts=2 or more, or use "
            "another loss"
        )


def split_lanes(data: dict, lanes: int | None) -> list[dict]:
    """Cut a batch into parts of a few lanes.

    Args:
        data: a batch as the loader gives it: a list with an entry per lane under each key.
        lanes: the largest number of lanes in a part. None: the whole batch is one part.
    """
    rows = len(data["inputs"])
    lanes = lanes or rows
    return [
        {key: values[i : i + lanes] for key, values in data.items()} for i in range(0, rows, lanes)
    ]


def step_in_parts(
    model: BaseModel | MMDistributedDataParallel, parts: list[dict], optim_wrapper: OptimWrapper
) -> dict:
    """Train one step on a batch in parts, with the gradient of the whole batch.

    With ``accumulative_counts`` of the wrapper that gradient is added to those of the iterations
    before.

    A part's losses are means over its own positive priors. So parts are weighed by their number,
    ``num_pos`` among the losses; with heads that do not return it, labelled frames take their
    place. Two things still differ from the whole batch: BatchNorm takes its mean and variance from
    one part at a time, and mmdet's heads, whose losses are means over several counts, are weighed
    by one of them. :func:`check_parts` refuses losses that do not add up.

    Args:
        model: a detector, with or without the wrapper of several processes.
        parts: from :func:`split_lanes`.
        optim_wrapper: mmengine's wrapper of the optimizer.

    Returns:
        Losses and counts for the log, as of one pass over the whole batch.
    """
    detector = getattr(model, "module", model)
    before = _taken_away([p for p in detector.parameters() if p.grad is not None])
    iteration = optim_wrapper.inner_count
    weights, counts, logs = [], [], []
    for part in parts:
        # it counts calls of `backward`; all parts are one iteration
        optim_wrapper._inner_count = iteration
        postponed = hasattr(model, "no_sync") and part is not parts[-1]
        with model.no_sync() if postponed else nullcontext():
            with optim_wrapper.optim_context(model):
                batch = detector.data_preprocessor(part, True)
                losses = model(**batch, mode="loss")
            loss, log = detector.parse_losses(losses)
            labelled = float(batch["is_labelled"].sum())
            # a tensor: reading it would stop a GPU
            counts.append(log.get("num_pos", loss.new_full((), labelled)))
            weights.append(counts[-1].clamp(min=1))
            whole = sum(counts).clamp(min=1)
            share = optim_wrapper.scale_loss(weights[0] / whole)
            if part is parts[-1]:  # before processes exchange their gradients
                _add(before, 1 / share)
            # relative to the first part, so that half precision keeps the range that its loss scale
            # was made for
            optim_wrapper.backward(loss * (weights[-1] / weights[0]))
        logs.append({name: value.detach() for name, value in log.items()})
    for gradient in [p.grad for p in detector.parameters() if p.grad is not None]:
        gradient.mul_(share)
    if optim_wrapper.should_update():
        optim_wrapper.step()
        optim_wrapper.zero_grad()
    shares = [weight / whole for weight in weights]
    return {
        name: sum(
            log[name] * (share if "loss" in name else 1)
            for log, share in zip(logs, shares, strict=True)
        )
        for name in logs[0]
    }


def _taken_away(parameters: list[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
    """Parameters with their gradients, which are taken away from the parameters."""
    gradients = [(p, p.grad) for p in parameters]
    for p in parameters:
        p.grad = None
    return gradients


def _add(gradients: list[tuple[nn.Parameter, Tensor]], factor: Tensor) -> None:
    for p, gradient in gradients:
        scaled = gradient * factor
        p.grad = scaled if p.grad is None else p.grad.add_(scaled)


@MODEL_WRAPPERS.register_module()
class StreamDataParallel(MMDistributedDataParallel):
    """Data parallelism whose processes may train their batches in parts.

    The processes exchange gradients once a step.
    """

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict:
        parts = split_lanes(data, self.module.micro_batch)
        return (
            step_in_parts(self, parts, optim_wrapper)
            if len(parts) > 1
            else super().train_step(data, optim_wrapper)
        )
