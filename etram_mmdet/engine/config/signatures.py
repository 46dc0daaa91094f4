"""What a ``type`` of a config means, and which keys that takes."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable

import mmdet.registry
import mmengine.registry
from mmengine.registry import Registry
from torch import nn

from etram_mmdet.events.representations import REPRESENTATIONS

_REGISTRIES = [
    entry
    for module in (mmengine.registry, mmdet.registry)
    for entry in vars(module).values()
    if isinstance(entry, Registry)
]


def tables() -> list[dict[str, Callable]]:
    """Every registry of mmengine, mmdet and this project, by name, as far as it is filled."""
    return [REPRESENTATIONS, *(registry.module_dict for registry in _REGISTRIES)]


def registered(kind: object) -> list[Callable]:
    """Every class or function that a ``type`` may mean; none where it is no registered name."""
    if not isinstance(kind, str):
        return [kind] if callable(kind) else []
    name = kind.rpartition(".")[2]
    if is_class_name(name) and not any(name in table for table in tables()):
        _import_all()
    return [table[name] for table in tables() if name in table]


@functools.cache
def _import_all() -> None:
    """Fill mmdet's registries, which takes its time; most configs name classes that are there already."""
    for registry in _REGISTRIES:
        registry.import_from_location()


def is_class_name(kind: object) -> bool:
    """Whether a ``type`` can only be a class; one in lower case may be a function or a mode (``nms``, ``value``)."""
    return isinstance(kind, str) and kind[:1].isupper()


@functools.cache
def parameters(called: Callable) -> tuple[frozenset[str], bool]:
    """Names that a function or class takes, those that it hands on as ``**kwargs`` too; and whether it takes more."""
    names, takes_more = set(), _is_layer(called)
    for function in _chain(called):
        names |= {p.name for p in _own(function) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        for receiver in _receivers(function):
            theirs, more = parameters(receiver) if callable(receiver) and receiver is not called else ((), True)
            names, takes_more = names.union(theirs), takes_more or more
    return frozenset(names - {"self"}), takes_more


def _is_layer(called: Callable) -> bool:
    """What builds the layers of torch, mmcv and mmengine takes keys of its own out first, such as ``requires_grad``."""
    is_module = inspect.isclass(called) and issubclass(called, nn.Module)
    return is_module and called.__module__.startswith(("torch.", "mmcv.", "mmengine."))


def _chain(called: Callable) -> list[Callable]:
    """The functions that keys reach: with ``**kwargs`` every base, because ``super(Base, self)`` may leave some out."""
    if not inspect.isclass(called):
        return [called]
    chain = [vars(cls)["__init__"] for cls in called.__mro__[:-1] if "__init__" in vars(cls)]
    return chain if chain and _rest(chain[0]) else chain[:1]


def _own(function: Callable) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _rest(function: Callable) -> str | None:
    """What a function calls its ``**kwargs``."""
    return next((p.name for p in _own(function) if p.kind is p.VAR_KEYWORD), None)


def _receivers(function: Callable) -> list[object]:
    """What gets ``**kwargs`` beside the ``__init__`` of a base; something not callable where that is unclear."""
    rest = _rest(function)
    if rest is None:
        return []
    try:
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    except (OSError, TypeError, SyntaxError):  # typed into a shell, compiled, or a docstring further left than the code
        return [None]
    calls = [
        n.func for n in nodes if isinstance(n, ast.Call) for k in n.keywords if k.arg is None and _is(k.value, rest)
    ]
    is_taken_apart = any(isinstance(n, ast.Attribute) and _is(n.value, rest) for n in nodes)  # kwargs.pop("key")
    if is_taken_apart or not calls:
        return [None]
    names = inspect.unwrap(function).__globals__
    return [names.get(getattr(call, "id", None)) for call in calls if getattr(call, "attr", None) != "__init__"]


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
