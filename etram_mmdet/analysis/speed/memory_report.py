"""Predicted memory of a training step, as tools/benchmark.py --memory-of prints it."""

from __future__ import annotations

from mmengine.config import Config
from torch import nn

from etram_mmdet.analysis.speed.sweep import predicted_cost
from etram_mmdet.engine.memory.prediction import predict_step
from etram_mmdet.engine.runner.memory import MOST_LANES, largest_batch
from etram_mmdet.utils.text import table

GIB = 2**30
_ROWS = dict(
    weights="weights and buffers",
    gradients="gradients",
    optimizer="optimizer",
    averaged="averaged weights",
    kept="kept for the backward pass",
    peak="most at one time",
    allocated="with workspaces of libraries",
    needed="memory of the card: 5 % for holes, 0.5 GiB for CUDA",
)


def predict_memory(
    cfg: Config,
    model: nn.Module,
    hw: tuple[int, int],
    batch: int,
    clip: int,
    precision: str,
    device: str,
    limits_gib: list[float],
    label_every: int = 2,
) -> dict:
    """Predicts the memory of a training step, and the largest batch for each size of card.

    Nothing of that size is allocated.

    Args:
        cfg: a complete config, from which the optimizer is built.
        model: detector of the config.
        hw: height and width of a frame, in pixels.
        batch: clips in a batch.
        clip: frames in a clip.
        precision: number format of the training.
        device: "cuda" or "cpu", where the step would run.
        limits_gib: memory of each card, in GiB.
        label_every: every frame whose number this divides is labelled; neck, head and losses see
            labelled frames only. Default: 2.

    Returns:
        ``batch``, ``clip``, ``label_every``, ``precision``, ``device``, ``memory`` (bytes by name),
        and ``largest``: the largest batch for each of ``limits_gib`` and what it needs, in GiB;
        batch 0 if a single clip does not fit.
    """
    how = clip, precision, device, label_every
    memory = predict_step(cfg, model, hw, batch, *how).to_dict()
    names = ("clip", "precision", "device", "label_every")
    result = dict(batch=batch, **dict(zip(names, how, strict=True)), memory=memory)
    cost = predicted_cost(cfg, model, clip, hw, precision, device, label_every)
    largest = []
    for limit in limits_gib:
        found = largest_batch(cost, limit * GIB)
        lanes = max(found, default=0)
        largest.append(dict(gib=limit, batch=lanes, needed_gib=found.get(lanes, 0) / GIB))
    return result | dict(largest=largest)


def format_memory(result: dict) -> str:
    """Formats the result of :func:`predict_memory` as text.

    Args:
        result: the result, with ``config`` and ``frame_hw``.
    """
    h, w = result["frame_hw"]
    memory = result["memory"]
    every = {1: "every frame labelled", 2: "every second frame labelled"}.get(
        result["label_every"], f"one of {result['label_every']} frames labelled"
    )
    device = dict(cuda="a GPU", cpu="a CPU")[result["device"]]
    left_out = {"averaged"} if not memory["averaged"] else set()
    if result["device"] == "cpu":
        left_out |= {"allocated", "needed"}
    rows = [
        [f"  {text}", f"{memory[name] / GIB:.2f} GiB"]
        for name, text in _ROWS.items()
        if name not in left_out
    ]
    lines = [
        f"{result['config']}, a training step on {device}, predicted",
        f"frames {w}x{h}, batch {result['batch']}, clips of {result['clip']}, {every}, "
        f"{result['precision']}",
        table(rows),
        *(_told_fit(result, row) for row in result["largest"]),
    ]
    return "\n".join(lines)


def _told_fit(result: dict, row: dict) -> str:
    asked = result["batch"]
    word = "fits" if row["batch"] >= asked else "does not fit"
    number = f"{row['batch']}{' or more' * (row['batch'] >= MOST_LANES)}"
    best = f"{number}, which needs {row['needed_gib']:.2f}" if row["batch"] else "none"
    return f"  batch {asked} {word} {row['gib']:g} GiB; the largest batch is {best}"
