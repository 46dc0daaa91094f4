"""The class that a config names, and the arguments that this class takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etram_mmdet.utils.errors import InputError

if TYPE_CHECKING:
    from mmengine.registry import Registry


def class_of(cfg: Mapping, registry: Registry) -> type:
    """The class that a config names with ``type``.

    Args:
        cfg: config with ``type``, a name or a class.
        registry: registry in which the name is looked up.

    Raises:
        InputError: when the config has no ``type``.
        KeyError: when no class has this name.
    """
    if "type" not in cfg:
        raise InputError(
            f"{dict(cfg)!r:.80}: has no type; add type='CLASS' with the name of a registered "
            f"{registry.name}"
        )
    if inspect.isclass(cfg["type"]):
        return cfg["type"]
    found = registry.get(cfg["type"])
    if found is None:
        raise KeyError(f"{cfg['type']}: no {registry.name} of this name is registered")
    return found


def is_registered(cfg: Mapping, registry: Registry) -> bool:
    """Whether a config names a class that the registry knows.

    Args:
        cfg: config, perhaps without ``type``.
        registry: registry in which the name is looked up.
    """
    kind = cfg.get("type")
    return inspect.isclass(kind) or (kind is not None and registry.get(str(kind)) is not None)


def takes_key(cfg: Mapping, key: str, registry: Registry) -> bool:
    """Whether the class that a config names, or one of its bases, has a certain argument.

    Args:
        cfg: config with ``type``.
        key: name of the argument.
        registry: registry in which the class is looked up.
    """
    return any(
        key in inspect.signature(base.__init__).parameters
        for base in class_of(cfg, registry).__mro__
    )


def value_of(cfg: Mapping, key: str, registry: Registry) -> object:
    """The value of an argument in a config, else the default of the class; None without either.

    Args:
        cfg: config with ``type``.
        key: name of the argument.
        registry: registry in which the class is looked up.
    """
    if cfg.get(key) is not None:
        return cfg[key]
    signatures = (
        inspect.signature(base.__init__).parameters for base in class_of(cfg, registry).__mro__
    )
    default = next(
        (parameters[key].default for parameters in signatures if key in parameters), None
    )
    return None if default is inspect.Parameter.empty else default
