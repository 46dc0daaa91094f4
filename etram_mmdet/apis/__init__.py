"""Python API: load a detector, run it, convert its boxes; PyTorch is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etram_mmdet.apis.inference import Boxes, EventInferencer, init_detector
    from etram_mmdet.apis.results import to_numpy, to_pandas, to_supervision

_FROM = {
    "inference": ("Boxes", "EventInferencer", "init_detector"),
    "results": ("to_numpy", "to_pandas", "to_supervision"),
}
_MODULE_OF = {name: module for module, names in _FROM.items() for name in names}
__all__ = ["Boxes", "EventInferencer", "init_detector", "to_numpy", "to_pandas", "to_supervision"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"etram_mmdet.apis.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
