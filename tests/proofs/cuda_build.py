"""Every config on PyTorch's CUDA build, on a machine without a GPU.

    make test-cuda-build

Imports every module of the package. Then each config of configs/ does a training forward pass in
its own precision and streams two windows, on fake tensors on cuda:0: PyTorch's own rules decide
shapes, number formats and devices, and an operator that mixes devices fails. Nothing is computed:
losses and the backward pass, which need numbers or a driver, are left out.

Prints a line for each config. ``kept`` is what the training pass keeps on cuda:0 as a share of what
the prediction of memory says, which imitates a GPU on the CPU; attention is written out in both,
since without a GPU PyTorch cannot choose its kernel. A few minutes.
"""

from __future__ import annotations

import copy
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

import etram_mmdet
from etram_mmdet.analysis.speed.model import build_fitted_model
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.memory.cuda_rules import CudaRules
from etram_mmdet.engine.memory.prediction import training_precision
from etram_mmdet.engine.runner.memory import SavedBytes
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import input_channels
from etram_mmdet.utils.text import table
from tests.helpers.paths import ROOT

HW = (360, 640)
CLIPS = (3, 2)  # frames, lanes


def import_everything() -> int:
    names = [m.name for m in pkgutil.walk_packages(etram_mmdet.__path__, "etram_mmdet.")]
    for name in names:
        import_module(name)
    return len(names)


def fake_model(model: nn.Module, device: str) -> nn.Module:
    """A copy of a model with fake parameters and buffers on a device; call it within the mode."""
    made: dict[int, object] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
        is_parameter = isinstance(tensor, nn.Parameter)
        made[id(tensor)] = nn.Parameter(fake, tensor.requires_grad) if is_parameter else fake
    return copy.deepcopy(model, made)


def tensors(nested: object) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, tuple | list):
        for each in nested:
            yield from tensors(each)


def described(nested: object) -> list[tuple]:
    return [(tuple(each.shape), each.dtype) for each in tensors(nested)]


def train(model: nn.Module, device: str, precision: str) -> tuple[list[tuple], int, set[str]]:
    """Shapes and formats of the head's maps, bytes kept for the backward pass, and devices."""
    model.train()
    frames = torch.empty(*CLIPS, input_channels(model), *HW, dtype=torch.uint8, device=device)
    saved = SavedBytes(model)
    with torch.autocast(device.split(":")[0], getattr(torch, precision), precision != "float32"):
        dtype = torch.float32 if precision == "float32" else getattr(torch, precision)
        padded = model.data_preprocessor.pad(frames, dtype)
        with saved.counted(), sdpa_kernel(SDPBackend.MATH):
            maps = model(padded, mode="tensor")
    return described(maps), saved.most, {str(each.device) for each in tensors(maps)}


@torch.no_grad()
def stream(model: nn.Module, device: str, precision: str) -> tuple[list[tuple], set[str]]:
    streamer = Streamer(model, precision)
    states = None
    for _ in range(2):
        frames = torch.empty(1, input_channels(model), *HW, dtype=torch.uint8, device=device)
        maps, states = streamer.network(streamer.pad(frames), states)
    return described([maps, states]), {str(each.device) for each in tensors([maps, states])}


def check(path: str) -> list[str]:
    cfg = load_config(path)
    precision = training_precision(cfg)
    model = build_fitted_model(cfg, torch.device("cpu"))
    found = {}
    for device in ("cuda:0", "cpu"):
        with FakeTensorMode(allow_non_fake_inputs=True):
            fake = fake_model(model, device)
            if device == "cpu":
                with CudaRules():
                    maps, kept, where = train(fake, device, precision)
            else:
                maps, kept, where = train(fake, device, precision)
            streamed, streamed_where = stream(fake, device, "float32")
            half, _ = stream(fake, device, "float16")
        assert where == streamed_where == {device}, (path, where, streamed_where)
        found[device] = maps, streamed, half, kept
    (*shapes, kept), (*cpu_shapes, cpu_kept) = found["cuda:0"], found["cpu"]
    assert shapes == cpu_shapes, path
    maps, streamed, half = shapes
    assert [shape for shape, _ in half] == [shape for shape, _ in streamed], path
    formats = ", ".join(sorted({str(dtype).removeprefix("torch.") for _, dtype in maps}))
    return [path.name, formats, str(len(maps)), str(len(streamed)), f"{kept / cpu_kept:.4f}"]


def main() -> None:
    assert torch.version.cuda, f"PyTorch {torch.__version__} is no CUDA build"
    print(
        f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}; GPU: {torch.cuda.is_available()}"
    )
    print(f"{import_everything()} modules imported")
    names = sys.argv[1:] or [path.stem for path in sorted((ROOT / "configs").glob("*.py"))]
    head = ["config", "formats of maps", "maps", "maps and states streamed", "kept"]
    rows = [head]
    with mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False):
        for name in names:
            rows.append(check(ROOT / "configs" / f"{name}.py"))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows, left=(0, 1)))
    print(f"{len(names)} configs: shapes, formats and devices as on a CPU")


if __name__ == "__main__":
    main()
