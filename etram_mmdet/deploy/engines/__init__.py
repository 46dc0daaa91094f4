"""Programs that run an exported graph: onnxruntime and OpenVINO."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.deploy.engines.base import Engine, GraphEngine
from etram_mmdet.deploy.engines.onnx_engine import OnnxEngine
from etram_mmdet.deploy.engines.openvino_engine import OpenVinoEngine
from etram_mmdet.utils.errors import InputError

__all__ = [
    "ENGINES",
    "Engine",
    "GraphEngine",
    "OnnxEngine",
    "OpenVinoEngine",
    "is_exported",
    "open_engine",
    "refuse_torch_options",
]

# A further program is one class here.
ENGINES: dict[str, type[Engine]] = {"onnx": OnnxEngine, "openvino": OpenVinoEngine}


def open_engine(path: str | Path, backend: str = "onnx") -> Engine:
    """Open an exported graph.

    Args:
        path: file of tools/export.py.
        backend: one of `ENGINES`. Default: onnx.

    Raises:
        InputError: the backend is unknown or not installed, or the file does not fit.
    """
    if not isinstance(backend, str) or backend not in ENGINES:
        raise InputError(f"backend={backend!r}, expected one of {', '.join(ENGINES)}")
    return ENGINES[backend](path)


def is_exported(path: str | Path) -> bool:
    """Whether a path names a file of tools/export.py.

    Args:
        path: the path.
    """
    return str(path).lower().endswith(".onnx")


def refuse_torch_options(path: str | Path, given: dict[str, object]) -> None:
    """Refuse options that an exported detector cannot follow: they were chosen at the export.

    Args:
        path: file of tools/export.py.
        given: by the name of each option, something that is true if it was given.

    Raises:
        InputError: an option was given.
    """
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise InputError(
            f"{path}: is an exported detector, so {', '.join(wrong)} cannot be chosen any more; "
            "leave it out, or name the checkpoint"
        )
