"""May a config have this key?"""

from __future__ import annotations

import inspect

from mmdet.registry import MODELS


def takes_key(cfg: dict, key: str) -> bool:
    """Whether the class that a model config names has a parameter ``key``."""
    cls = cfg["type"] if inspect.isclass(cfg["type"]) else MODELS.get(cfg["type"])
    return any(key in inspect.signature(c.__init__).parameters for c in cls.__mro__)
