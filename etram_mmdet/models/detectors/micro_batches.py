"""One optimiser step from several passes over parts of a batch, for batches that do not fit the memory."""

from __future__ import annotations

from contextlib import nullcontext

from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS


def split_lanes(data: dict, lanes: int | None) -> list[dict]:
    """A batch as the loader gives it, cut into parts of at most ``lanes`` rows; whole where that is ``None``."""
    rows = len(data["inputs"])
    lanes = lanes or rows
    return [{key: values[i : i + lanes] for key, values in data.items()} for i in range(0, rows, lanes)]


def step_in_parts(model: BaseModel | MMDistributedDataParallel, parts: list[dict], optim_wrapper: OptimWrapper) -> dict:
    """Forward and backward part by part, then one step with the gradient of the whole batch; returns its logs.

    A part's losses are means over its own positive priors (``num_pos`` among the losses; with heads that do not tell
    it, labelled frames take their place), so parts are weighed by these. What still differs from the whole batch:
    BatchNorm takes its mean and variance from one part at a time.
    """
    detector = getattr(model, "module", model)
    weights, counts, logs = [], [], []
    for part in parts:
        postponed = hasattr(model, "no_sync") and part is not parts[-1]
        with model.no_sync() if postponed else nullcontext():
            with optim_wrapper.optim_context(model):
                batch = detector.data_preprocessor(part, True)
                losses = model(**batch, mode="loss")
            loss, log = detector.parse_losses(losses)
            labelled = float(batch["is_labelled"].sum())
            counts.append(log.get("num_pos", loss.new_full((), labelled)))  # a tensor: reading it would stop a GPU
            weights.append(counts[-1].clamp(min=1))
            # relative to the first part, so that half precision keeps the range that its loss scale was made for
            optim_wrapper.backward(loss * (weights[-1] / weights[0]))
        logs.append({name: value.detach() for name, value in log.items()})
    whole = sum(counts).clamp(min=1)
    gradients = [p.grad for p in detector.parameters() if p.grad is not None]
    for gradient in gradients:
        gradient.mul_(weights[0] / whole)
    optim_wrapper.step()
    optim_wrapper.zero_grad()
    shares = [weight / whole for weight in weights]
    return {
        name: sum(log[name] * (share if "loss" in name else 1) for log, share in zip(logs, shares, strict=True))
        for name in logs[0]
    }


@MODEL_WRAPPERS.register_module()
class StreamDataParallel(MMDistributedDataParallel):
    """Data parallelism whose processes may train their batches in parts; they exchange gradients once a step."""

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict:
        parts = split_lanes(data, self.module.micro_batch)
        return step_in_parts(self, parts, optim_wrapper) if len(parts) > 1 else super().train_step(data, optim_wrapper)
