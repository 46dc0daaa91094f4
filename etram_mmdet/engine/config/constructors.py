"""Classes that a ``type`` of a config means, and keys that their constructors take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from numbers import Real

import mmdet.registry
import mmengine.registry
from mmengine.registry import Registry
from torch import nn

from etram_mmdet.events.representations import REPRESENTATIONS

# What a parameter takes: one or several annotations; a value has to suit one of them.
Types = tuple[str, ...]
ANYTHING: Types = ("object",)

_REGISTRIES = [
    entry
    for module in (mmengine.registry, mmdet.registry)
    for entry in vars(module).values()
    if isinstance(entry, Registry)
]
# Every registry of mmengine, mmdet and this project: class by name; see `fill_registries`.
TABLES: list[dict[str, Callable]] = [
    REPRESENTATIONS,
    *(registry.module_dict for registry in _REGISTRIES),
]
_LAYERS = ("torch.", "mmcv.", "mmengine.")
_ANNOTATED = ("etram_mmdet.", "mmengine.", "torch.")  # mmdet takes other values than it annotates
# mmengine annotates a dict, and takes a list of them too.
_LOOSE = ("init_cfg",)


def registered(kind: object) -> list[Callable]:
    """Every class or function that a ``type`` may mean; none for a name that is not registered.

    Args:
        kind: the ``type`` of a config, a name or a class.
    """
    if not isinstance(kind, str):
        return [kind] if callable(kind) else []
    name = kind.rpartition(".")[2]
    if is_class_name(name) and not any(name in table for table in TABLES):
        fill_registries()
    return [table[name] for table in TABLES if name in table]


@functools.cache
def fill_registries() -> None:
    """Fill mmdet's registries, which takes time.

    Most configs name only classes that are registered already.
    """
    for registry in _REGISTRIES:
        registry.import_from_location()


def is_class_name(kind: object) -> bool:
    """Whether a ``type`` can only be a class.

    A name in lower case may be a mode such as ``nms``.

    Args:
        kind: the ``type`` of a config.
    """
    return isinstance(kind, str) and kind[:1].isupper()


@functools.cache
def parameters(called: Callable) -> tuple[dict[str, Types], bool]:
    """Parameters of a class or function with their types, and whether it takes more.

    A constructor with ``**kwargs`` takes those of every base class too, and more: it may hand keys
    on to anything. So do the layers of torch, mmcv and mmengine, because their builders take keys
    of their own, such as ``requires_grad``, out of the dict first.

    Args:
        called: the class or function.
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
                types.setdefault(p.name, _accepted(p, function))
        if not takes_more:
            break
    is_layer = inspect.isclass(called) and issubclass(called, nn.Module)
    return types, takes_more or (is_layer and called.__module__.startswith(_LAYERS))


def default_of(called: Callable, name: str) -> object:
    """Default of a parameter of a function, of a class or of one of its bases; else None.

    Args:
        called: the class or function.
        name: the parameter.
    """
    functions = (
        [vars(c).get("__init__") for c in called.__mro__[:-1]]
        if inspect.isclass(called)
        else [called]
    )
    found = (inspect.signature(function).parameters.get(name) for function in functions if function)
    return next((p.default for p in found if p is not None and p.default is not p.empty), None)


def _accepted(parameter: inspect.Parameter, function: Callable) -> Types:
    """Types that a parameter takes: its annotation, if that is reliable.

    Otherwise a default that is a number tells the type, since no text and no dict replaces it.
    """
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if parameter.name in _LOOSE:
        return ANYTHING
    if annotation is not parameter.empty and str(function.__module__).startswith(_ANNOTATED):
        return (text.replace("typing.", "") + (" | None" if parameter.default is None else ""),)
    is_number = isinstance(parameter.default, Real) and not isinstance(parameter.default, bool)
    says_more = annotation is not parameter.empty and text not in ("int", "float")
    return ("float", "list") if is_number and not says_more else ANYTHING
