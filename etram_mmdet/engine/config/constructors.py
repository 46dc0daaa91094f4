"""What a ``type`` of a config means, and which keys and values its constructor takes."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from numbers import Integral, Real

import mmdet.registry
import mmengine.registry
from mmengine.registry import Registry
from torch import nn

from etram_mmdet.events.representations import REPRESENTATIONS

Types = tuple[type, ...]

_REGISTRIES = [
    entry
    for module in (mmengine.registry, mmdet.registry)
    for entry in vars(module).values()
    if isinstance(entry, Registry)
]
# Every registry of mmengine, mmdet and this project: class by name, as far as it is filled.
TABLES: list[dict[str, Callable]] = [REPRESENTATIONS, *(registry.module_dict for registry in _REGISTRIES)]
_LAYERS = ("torch.", "mmcv.", "mmengine.")
_ANNOTATED = ("etram_mmdet.", "mmengine.", "torch.")  # mmdet takes other values than it annotates
_PLAIN = {"int": int, "float": float, "bool": bool, "str": str}
_ACCEPTED = {int: Integral, float: Real, bool: Integral, str: (str, os.PathLike)}


def registered(kind: object) -> list[Callable]:
    """Every class or function that a ``type`` may mean; none where it is no registered name."""
    if not isinstance(kind, str):
        return [kind] if callable(kind) else []
    name = kind.rpartition(".")[2]
    if is_class_name(name) and not any(name in table for table in TABLES):
        fill_registries()
    return [table[name] for table in TABLES if name in table]


@functools.cache
def fill_registries() -> None:
    """Fill mmdet's registries, which takes its time; most configs name classes that are there."""
    for registry in _REGISTRIES:
        registry.import_from_location()


def is_class_name(kind: object) -> bool:
    """Whether a ``type`` can only be a class; in lower case it may be a mode such as ``nms``."""
    return isinstance(kind, str) and kind[:1].isupper()


@functools.cache
def parameters(called: Callable) -> tuple[dict[str, Types], bool]:
    """Parameters of a class or function with the types of their values, and whether it takes more.

    A constructor with ``**kwargs`` takes those of every base class too, and more: it may hand keys
    on to anything. So do the layers of torch, mmcv and mmengine, because what builds them takes
    keys of its own, such as ``requires_grad``, out of the dict first.
    """
    functions = [called]
    if inspect.isclass(called):
        functions = [vars(c)["__init__"] for c in called.__mro__[:-1] if "__init__" in vars(c)]
    types: dict[str, Types] = {}
    takes_more = False
    for function in functions:
        own = inspect.signature(function).parameters.values()
        takes_more |= any(p.kind is p.VAR_KEYWORD for p in own)
        for p in own:
            if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                types.setdefault(p.name, _plain_types(p.annotation, function))
        if not takes_more:
            break
    is_layer = inspect.isclass(called) and issubclass(called, nn.Module)
    return types, takes_more or (is_layer and called.__module__.startswith(_LAYERS))


def _plain_types(annotation: object, function: Callable) -> Types:
    """Those of an annotation that names plain types only; else ``object``, which is any value."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    names = sorted(set(re.findall(r"[\w.]+", text)) - {"Optional", "Union", "None"})
    is_plain = names and all(name in _PLAIN for name in names)
    is_reliable = str(function.__module__).startswith(_ANNOTATED)
    return tuple(_PLAIN[name] for name in names) if is_plain and is_reliable else (object,)


def suits(value: object, types: Types) -> bool:
    """Whether a parameter of these types takes a value.

    ``None`` passes always, because it stands for leaving a key out. Whole numbers pass as float,
    numbers as bool, paths as str.
    """
    return value is None or any(isinstance(value, _ACCEPTED.get(t, t)) for t in types)
