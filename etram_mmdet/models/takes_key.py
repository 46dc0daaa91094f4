"""What may a config of a model's part hold?"""

from __future__ import annotations

import inspect

from mmdet.registry import MODELS


def class_of(cfg: dict) -> type:
    """The class that a model config names.

    Raises:
        KeyError: no class has this name.
    """
    if inspect.isclass(cfg["type"]):
        return cfg["type"]
    found = MODELS.get(cfg["type"])
    if found is None:
        raise KeyError(f"{cfg['type']} is not in mmdet's registry of models")
    return found


def is_registered(cfg: dict) -> bool:
    """Whether a model config names a class that mmdet's registry of models knows."""
    return inspect.isclass(cfg.get("type")) or (cfg.get("type") is not None and MODELS.get(cfg["type"]) is not None)


def takes_key(cfg: dict, key: str) -> bool:
    """Whether the class that a model config names has a parameter ``key``."""
    return any(key in inspect.signature(c.__init__).parameters for c in class_of(cfg).__mro__)


def value_of(cfg: dict, key: str):
    """What a config says under ``key``, else the default of its class; None where there is neither."""
    if cfg.get(key) is not None:
        return cfg[key]
    signatures = (inspect.signature(c.__init__).parameters for c in class_of(cfg).__mro__)
    default = next((parameters[key].default for parameters in signatures if key in parameters), None)
    return None if default is inspect.Parameter.empty else default
