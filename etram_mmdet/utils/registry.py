"""What the class that a config names would take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etram_mmdet.utils.errors import InputError

if TYPE_CHECKING:
    from mmengine.registry import Registry


def class_of(cfg: Mapping, registry: Registry) -> type:
    """The class that a config names with ``type``.

    Raises:
        InputError: it names none.
        KeyError: no class has this name.
    """
    if "type" not in cfg:
        raise InputError(f"{dict(cfg)!r:.80}: has no type; name the class of the {registry.name}: type='CLASS'")
    if inspect.isclass(cfg["type"]):
        return cfg["type"]
    found = registry.get(cfg["type"])
    if found is None:
        raise KeyError(f"{cfg['type']} is not in the registry of {registry.name}s")
    return found


def is_registered(cfg: Mapping, registry: Registry) -> bool:
    """Whether a config names a class that the registry knows."""
    kind = cfg.get("type")
    return inspect.isclass(kind) or (kind is not None and registry.get(str(kind)) is not None)


def takes_key(cfg: Mapping, key: str, registry: Registry) -> bool:
    """Whether the class that a config names has a parameter ``key``, perhaps in one of its bases."""
    return any(key in inspect.signature(base.__init__).parameters for base in class_of(cfg, registry).__mro__)


def value_of(cfg: Mapping, key: str, registry: Registry) -> object:
    """What a config says under ``key``, else the default of its class; None where there is neither."""
    if cfg.get(key) is not None:
        return cfg[key]
    signatures = (inspect.signature(base.__init__).parameters for base in class_of(cfg, registry).__mro__)
    default = next((parameters[key].default for parameters in signatures if key in parameters), None)
    return None if default is inspect.Parameter.empty else default
