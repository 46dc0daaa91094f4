"""All that the benchmarks ask of a GPU; every function has an answer for a CPU too, so that the rest runs without."""

from __future__ import annotations

import gc
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config

from etram_mmdet.utils.errors import InputError


def chosen(device: str | None) -> torch.device:
    """The device of this name; by default the GPU if there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def check(device: torch.device) -> None:
    """Raises ``InputError`` where ``device`` is a GPU and PyTorch finds none."""
    if device.type == "cuda" and not torch.cuda.is_available():
        build = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda or 'not built in'}"
        raise InputError(
            f"--device {device}: no GPU found here ({build}); --device cpu --small tries the same without"
        )


def name(device: torch.device) -> str:
    """The card's; empty for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def facts(device: torch.device) -> dict[str, str]:
    """What figures from a card depend on; nothing for a CPU."""
    if device.type != "cuda":
        return {}
    card = torch.cuda.get_device_properties(device)
    switches = dict(
        products=torch.backends.cuda.matmul.allow_tf32, convolutions=torch.backends.cudnn.allow_tf32
    )
    return dict(
        memory=f"{card.total_memory / 2**30:.1f} GiB",
        capability=f"{card.major}.{card.minor}",
        driver=driver(),
        cuda=str(torch.version.cuda),
        cudnn=str(torch.backends.cudnn.version()),
        tf32=" and ".join(what for what, is_on in switches.items() if is_on) or "off",
    )


def driver() -> str:
    """Version of NVIDIA's driver, where its tool tells."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "unknown"
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return lines[0] if lines else "unknown"


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; a CPU at least imitates it."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget(device: torch.device) -> None:
    """Give back memory that nothing uses, and begin :func:`peak_bytes` anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Most memory that tensors took at a time since :func:`forget`; on a CPU the most that the process ever had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reserved_peak_bytes(device: torch.device) -> int:
    """The same with what PyTorch held ready; the card's other needs, some hundred MB, come on top."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else peak_bytes(device)


@contextmanager
def at_most(device: torch.device, limit_gib: float) -> Iterator[None]:
    """Inside, a GPU is out of memory at ``limit_gib``; a CPU has no such limit."""
    if device.type != "cuda":
        yield
        return
    total_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_gib / total_gib))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def exact_products() -> Iterator[None]:
    """Inside, a GPU multiplies in whole float32; TensorFloat-32 would round factors to 10 bits."""
    products = torch.backends.cuda.matmul
    convolutions = torch.backends.cudnn
    before = [switch.allow_tf32 for switch in (products, convolutions)]
    products.allow_tf32 = False
    convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def choose_convolutions_as(cfg: Config) -> None:
    """Let cuDNN try its ways of a convolution out and take the fastest, where the config does so in training."""
    torch.backends.cudnn.benchmark = bool(cfg.get("env_cfg", {}).get("cudnn_benchmark"))
