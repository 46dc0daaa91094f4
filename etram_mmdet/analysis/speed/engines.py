"""How fast exported graphs run beside the checkpoint that they were made of."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from etram_mmdet.analysis.speed.timing import take_turns
from etram_mmdet.deploy.description import read_description
from etram_mmdet.deploy.engines import ENGINES, Engine

BASELINE = "torch float32"
FRAMES = 7  # different ones, in turns
# Starts a new process that opens a graph and detects in one frame.
_START = """
import sys, numpy as np
from etram_mmdet.deploy.engines import open_engine
engine = open_engine(sys.argv[1], sys.argv[2])
d = engine.description
engine(np.zeros((d.batch or 1, *d.frame_shape), d.frame_dtype), None)
"""


def compare(
    engines: dict[str, Engine], frames: np.ndarray, rounds: int, warm_up: int = 3
) -> dict[str, dict[str, float]]:
    """Milliseconds of a window by engine, and its ratio to the first engine.

    The engines take turns, so that the ratios hold on a busy machine. Each carries its state.

    Args:
        engines: what runs the network, by name; the first is the baseline.
        frames: (N, B, C, H, W) frames of B streams that are used in turns.
        rounds: number of windows that are timed.
        warm_up: number of windows before them. Default: 3.

    Returns:
        For each name ``ms`` (median), ``ratio`` (median over the rounds) and ``ratio_of_best``.
    """
    ways = {name: _Stream(engine, frames) for name, engine in engines.items()}
    seconds = take_turns(ways, rounds, warm_up)
    baseline = next(iter(seconds.values()))
    return {
        name: dict(
            ms=1e3 * float(np.median(values)),
            ratio=float(np.median(values / baseline)),
            ratio_of_best=float(values.min() / baseline.min()),
        )
        for name, values in seconds.items()
    }


class _Stream:
    """The next window of a batch of streams at each call."""

    def __init__(self, engine: Engine, frames: np.ndarray) -> None:
        self._engine = engine
        self._frames = frames
        self._states = None
        self._count = 0

    def __call__(self) -> None:
        frames = self._frames[self._count % len(self._frames)]
        self._count += 1
        _, self._states = self._engine(frames, self._states)


def sparse_frames(shape: Sequence[int], dtype: str, batch: int = 1) -> np.ndarray:
    """Random sparse frames (`FRAMES`, B, C, H, W), about as full as a street.

    Args:
        shape: (C, H, W).
        dtype: number format, by NumPy's name.
        batch: B. Default: 1.
    """
    rng = np.random.default_rng(0)
    return rng.poisson(0.05, (FRAMES, batch, *shape)).astype(dtype)


def cold_start_s(path: Path, backend: str, tries: int = 3) -> float:
    """Seconds from the start of a new process to the boxes of its first window; the least of some.

    Args:
        path: file of tools/export.py.
        backend: one of `ENGINES`.
        tries: number of processes. Default: 3.
    """
    return min(
        _seconds(partial(subprocess.run, [sys.executable, "-c", _START, path, backend], check=True))
        for _ in range(tries)
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def graph_engines(
    paths: Sequence[Path], backends: Sequence[str], score_thr: float
) -> dict[str, Engine]:
    """Every graph with every backend, by names such as ``openvino int8 demo_int8.onnx``.

    Args:
        paths: files of tools/export.py.
        backends: some of `ENGINES`.
        score_thr: boxes with a lower score are dropped before NMS.
    """
    engines = {}
    for path in paths:
        for backend in backends:
            engine = ENGINES[backend](path)
            engine.description = replace(engine.description, score_thr=score_thr)
            engines[_engine_name(path, backend)] = engine
    return engines


def cold_starts(paths: Sequence[Path], backends: Sequence[str]) -> dict[str, float]:
    """:func:`cold_start_s` of every graph with every backend, named as in :func:`graph_engines`.

    Args:
        paths: files of tools/export.py.
        backends: some of `ENGINES`.
    """
    return {
        _engine_name(path, each): cold_start_s(path, each) for path in paths for each in backends
    }


def _engine_name(path: Path, backend: str) -> str:
    return f"{backend} {read_description(path).precision} {path.name}"
