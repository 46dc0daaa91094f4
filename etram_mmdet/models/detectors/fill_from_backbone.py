"""Ask the backbone, never retype it: what neck, head and preprocessor can know without being told."""

from __future__ import annotations

import copy

from torch import nn

from etram_mmdet.events.errors import InputError
from etram_mmdet.models.backbones.recurrent import RecurrentBackbone
from etram_mmdet.models.takes_key import takes_key


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
