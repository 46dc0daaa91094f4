"""Ask the data, never retype them: tell losses, heads and assigners what they need to know of the training boxes."""

from __future__ import annotations

import copy
import inspect

from mmdet.registry import MODELS
from torch import nn

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.utils.errors import InputError


def fit_to_data(model: nn.Module, dataset: ETraMDataset) -> list[str]:
    """Call ``fit_to_data(BoxStatistics)`` of every module, and assigner, that has it; returns sentences for the log.

    It happens before training. What a part needs again at test time it must keep in buffers. Boxes are counted only
    where somebody asks.
    """
    parts = [part for module in model.modules() for part in (module, getattr(module, "assigner", None))]
    asking = [part for part in parts if hasattr(part, "fit_to_data")]
    boxes = dataset.box_statistics() if asking else None
    return [part.fit_to_data(boxes) for part in asking]


def takes_key(cfg: dict, key: str) -> bool:
    """Whether the class that a model config names has a parameter ``key``."""
    cls = cfg["type"] if inspect.isclass(cfg["type"]) else MODELS.get(cfg["type"])
    return any(key in inspect.signature(c.__init__).parameters for c in cls.__mro__)


def fill_from_backbone(
    backbone: nn.Module, neck: dict | None, head: dict, preprocessor: dict
) -> tuple[dict | None, dict, dict]:
    """Copies of the configs, completed with the channels, strides and divisor of a :class:`RecurrentBackbone`.

    A key is filled where its class takes it and the config leaves it out. A neck's ``out_channels`` become a quarter of
    the widest stage, RVT's rule.

    Raises:
        InputError: when a config states such a key and the backbone says otherwise.
    """
    neck, head, preprocessor = copy.deepcopy((neck, head, preprocessor))
    if not isinstance(backbone, RecurrentBackbone):
        return neck, head, preprocessor
    if neck is not None:
        _fill(neck, "neck", in_channels=list(backbone.out_channels))
        if takes_key(neck, "out_channels"):
            neck.setdefault("out_channels", backbone.out_channels[-1] // 4)
            _fill(head, "bbox_head", in_channels=neck["out_channels"])
    _fill(head, "bbox_head", strides=list(backbone.out_strides))
    _fill(preprocessor, "data_preprocessor", size_divisor=list(backbone.size_divisor))
    return neck, head, preprocessor


def check_strides(backbone: nn.Module, head: nn.Module) -> None:
    """Raise ``InputError`` when a head's priors lie on other strides than the backbone's maps.

    mmdet compares only the number of levels; a head with strides twice too large decodes every box at twice its size.
    """
    generator = getattr(head, "prior_generator", None)
    if generator is None or not isinstance(backbone, RecurrentBackbone):
        return
    strides = tuple(s[0] if isinstance(s, tuple) else s for s in generator.strides)
    if strides != backbone.out_strides:
        raise InputError(_contradiction("bbox_head's strides", strides, backbone.out_strides))


def _fill(cfg: dict, name: str, **known) -> None:
    for key, actual in known.items():
        stated = cfg.get(key)
        if stated is None and takes_key(cfg, key):
            cfg[key] = actual
        elif stated is not None and _plain(stated) != _plain(actual):
            raise InputError(_contradiction(f"{name}.{key}", stated, actual))


def _plain(value):
    return list(value) if isinstance(value, list | tuple) else value


def _contradiction(path: str, stated, actual) -> str:
    return (
        f"RecurrentDetector: {path}={_plain(stated)} in the config contradicts {_plain(actual)}, which follows from "
        "the backbone (patch_size, out_stages, embed_dims); leave the key out of the config or correct it"
    )
