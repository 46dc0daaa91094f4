"""Everything that the benchmarks need to know about a GPU.

Every function works for a CPU too, so the benchmarks run without a GPU.
"""

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
    """Returns the device of this name.

    Args:
        device: name, such as "cuda" or "cpu". Default: the GPU if there is one, else the CPU.
    """
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def check(device: torch.device) -> None:
    """Checks that a GPU is there if the device is one.

    Args:
        device: the device.

    Raises:
        InputError: the device is a GPU and PyTorch finds none.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        build = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda or 'not built in'}"
        raise InputError(
            f"--device {device}: no GPU found here ({build}); --device cpu --small does a little "
            "of everything without a GPU"
        )


def name(device: torch.device) -> str:
    """Returns the name of a GPU; empty for a CPU.

    Args:
        device: the device.
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def facts(device: torch.device) -> dict[str, str]:
    """Returns properties of a GPU and its software on which times depend; empty for a CPU.

    Args:
        device: the device.
    """
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
    """Returns the version of NVIDIA's driver, "unknown" if ``nvidia-smi`` does not print it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "unknown"
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return lines[0] if lines else "unknown"


def has_bfloat16(device: torch.device) -> bool:
    """Says whether the device computes in bfloat16. A CPU at least imitates it.

    Args:
        device: the device.
    """
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished all its work.

    Args:
        device: the device.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget(device: torch.device) -> None:
    """Frees memory that nothing uses and restarts the measurement of :func:`peak_bytes`.

    Args:
        device: the device.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Returns the largest memory of all tensors at one time since :func:`forget`, in bytes.

    For a CPU it is the largest memory that the process ever had.

    Args:
        device: the device.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reserved_peak_bytes(device: torch.device) -> int:
    """Returns the same as :func:`peak_bytes` with the memory that PyTorch reserves.

    A GPU needs some hundred MB more for other things.

    Args:
        device: the device.
    """
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else peak_bytes(device)


@contextmanager
def at_most(device: torch.device, limit_gib: float) -> Iterator[None]:
    """Limits the memory of a GPU inside the ``with`` block; a CPU gets no limit.

    Args:
        device: the device.
        limit_gib: memory in GiB above which the GPU is out of memory.
    """
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
    """Makes a GPU multiply in full float32 inside the ``with`` block.

    TensorFloat-32 would round factors to 10 bits.
    """
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
    """Makes cuDNN try its convolution algorithms and take the fastest, if the config does so.

    Args:
        cfg: a complete config, whose ``env_cfg.cudnn_benchmark`` decides.
    """
    torch.backends.cudnn.benchmark = bool(cfg.get("env_cfg", {}).get("cudnn_benchmark"))
