"""Detectors as functions. PyTorch is loaded when one of these names is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etram_mmdet.apis.inference import Boxes, EventInferencer
    from etram_mmdet.engine.checkpoints.opening import init_detector

__all__ = ["Boxes", "EventInferencer", "init_detector"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from etram_mmdet.apis import inference

    return getattr(inference, name)


def __dir__() -> list[str]:
    return __all__
