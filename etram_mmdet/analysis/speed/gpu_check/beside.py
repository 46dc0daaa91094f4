"""Parts of the GPU check that put two figures side by side.

Memory beside its prediction, CUDA graphs beside single launches, our code beside RVT's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from etram_mmdet.analysis.speed import against_reference, cuda
from etram_mmdet.analysis.speed.gpu_check.same_numbers import MAP_TOLERANCE
from etram_mmdet.analysis.speed.gpu_check.size import Size
from etram_mmdet.analysis.speed.gpu_check.speed import STREAMED, TRAINED
from etram_mmdet.analysis.speed.model import build_model, time_training
from etram_mmdet.analysis.speed.reference import Reference
from etram_mmdet.analysis.speed.timing import compared, take_turns
from etram_mmdet.engine.memory.prediction import predict_step, training_precision
from etram_mmdet.engine.runner.memory import saved_bytes
from etram_mmdet.models.inference import Streamer, each_map
from etram_mmdet.testing import random_clips

GIB = 2**30
PREDICTION_TOLERANCE = 0.1
GRAPHED = ("float32", "float16")
# Goals: a third of RVT's latency, half the time of a training step.
MOST_OF_LATENCY = 1 / 3
MOST_OF_STEP = 1 / 2
FASTEST = ("eager", "CUDA graphs", "compiled")


def prediction(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Yields the memory of training steps beside what was predicted without allocating it.

    On a GPU it is the peak that PyTorch allocated. A CPU has no such figure; there it is what the
    forward pass keeps for the backward pass.

    Args:
        device: device to measure.
        size: which frames and networks are used.
        _: not used.
    """
    for name in TRAINED:
        cfg = size.config(name)
        precision = training_precision(cfg) if device.type == "cuda" else "float32"
        loader = cfg.train_dataloader
        batch, clip = loader.batch_size, loader.dataset.clip_length
        torch.manual_seed(0)
        cuda.choose_convolutions_as(cfg)
        model = build_model(cfg, device)
        found = predict_step(cfg, model, size.frame_hw, batch, clip, precision, device.type)
        row = dict(config=name, batch=batch, clip=clip, precision=precision)
        data = random_clips(model, batch, clip, size.frame_hw)
        if device.type == "cuda":
            cuda.forget(device)
            try:
                time_training(cfg, model, data, steps=2, warm_up=1)
            except torch.OutOfMemoryError:
                yield row | dict(predicted_gib=found.needed / GIB, reason="out of memory")
                continue
            pair = dict(what="peak", predicted=found.allocated, true=cuda.peak_bytes(device))
        else:
            pair = dict(what="kept", predicted=found.kept, true=saved_bytes(model, data))
        yield row | _compared_bytes(**pair)


def _compared_bytes(what: str, predicted: int, true: int) -> dict:
    difference = predicted / true - 1
    return dict(
        what=what,
        predicted_gib=predicted / GIB,
        true_gib=true / GIB,
        relative_difference=difference,
        tolerance=PREDICTION_TOLERANCE,
        holds=abs(difference) <= PREDICTION_TOLERANCE,
    )


@torch.no_grad()
def graphs(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Yields the latency of the network through a CUDA graph beside single launches, in turns.

    A CPU has no CUDA graphs; there one row says so.

    Args:
        device: device to measure.
        size: which frames and networks are used, and how many windows.
        _: not used.
    """
    if device.type != "cuda":
        yield dict(reason="CUDA graphs need a GPU; nothing was measured")
        return
    for precision in GRAPHED:
        for name in STREAMED:
            torch.manual_seed(0)
            model = build_model(size.config(name), device)
            row = dict(config=name, precision=precision)
            yield row | _graph_latency(model, size, precision)


def _graph_latency(model: nn.Module, size: Size, precision: str) -> dict:
    streamers = {
        "plain": Streamer(model, precision),
        "graph": Streamer(model, precision, cuda_graphs=True),
    }
    frames = random_clips(model, 1, 1, size.frame_hw, label_every=1)["inputs"][0]
    padded = streamers["plain"].pad(frames.to(streamers["plain"].device))
    states = dict.fromkeys(streamers)
    maps = {}

    def step(name: str) -> None:
        maps[name], states[name] = streamers[name].network(padded, states[name])

    ways = {name: lambda name=name: step(name) for name in streamers}
    device = padded.device.type
    seconds = take_turns(ways, size.timed_windows, size.untimed_windows, device)
    times = compared(dict(reference=seconds["plain"], ours=seconds["graph"]))
    largest = {"plain": 0.0, "difference": 0.0}
    pairs = zip(_flat(maps["plain"]), _flat(maps["graph"]), strict=True)
    for plain, graph in pairs:
        largest["plain"] = max(largest["plain"], float(plain.abs().max()))
        largest["difference"] = max(largest["difference"], float((plain - graph).abs().max()))
    difference = largest["difference"] / largest["plain"]
    return dict(
        plain_ms=times["reference_ms"],
        graph_ms=times["ours_ms"],
        ratio=times["ratio"],
        largest_difference=difference,
        tolerance=MAP_TOLERANCE[precision],
        holds=difference <= MAP_TOLERANCE[precision],
    )


def _flat(maps: tuple) -> list[torch.Tensor]:
    flat = []
    each_map(lambda level: flat.append(level.float()), maps)
    return flat


def reference(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Yields times of our model beside RVT's own code with the same weights, in turns.

    ``meets_goal`` says whether streaming takes at most a third of RVT's time, in any of the ways
    that this device offers, and a training step at most half of it. Missing a goal fails nothing.

    Args:
        device: device to measure.
        size: which frames and network are used, how often, and the clone of RVT.
        _: not used.
    """
    cfg = size.config(size.reference_config, **size.reference_options)
    torch.manual_seed(0)
    model = build_model(cfg, device)
    theirs = Reference(size.reference, model)
    precision = "float16" if device.type == "cuda" else "float32"
    for way in _ways(device, size):
        torch.compiler.reset()
        options = dict(cuda_graphs=way == "CUDA graphs", compiled=way == "compiled")
        streamer = Streamer(model, precision, **options)
        times = against_reference.streaming(streamer, theirs, size.frame_hw, size.timed_windows)
        row = dict(what="streaming, one window", how=f"{precision}, {way}") | times
        yield row | dict(meets_goal=times["ratio"] <= MOST_OF_LATENCY)
    loader = cfg.train_dataloader
    batch, clip = min(2, loader.batch_size), loader.dataset.clip_length
    times = against_reference.training(
        cfg, model, theirs, size.frame_hw, batch, clip, size.timed_steps
    )
    row = dict(what=f"training step, batch {batch}", how="as the config trains") | times
    yield row | dict(meets_goal=times["ratio"] <= MOST_OF_STEP)


def _ways(device: torch.device, size: Size) -> list[str]:
    """How our network is run; compiling takes half a minute, which a small check does not take."""
    if device.type == "cuda":
        return list(FASTEST)
    return ["eager"] if size.name == "small" else ["eager", "compiled"]
