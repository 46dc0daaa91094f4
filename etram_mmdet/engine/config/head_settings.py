"""Keys of ``model.test_cfg`` and ``model.train_cfg`` that the code of a head reads."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator

from mmdet.models.dense_heads import YOLOXHead
from torch import nn

_ENTRIES = ("__init__", "loss", "predict", "forward", "init_weights")  # what a detector calls
_CONFIGS = ("cfg", "test_cfg", "train_cfg", "proposal_cfg")  # what mmdet calls a dict of settings
_OF_DICTS = {*dir(dict), "deepcopy"}
# Keys that configs of mmdet set under heads that never read them.
_BY_CUSTOM = {
    "train_cfg": "assigner allowed_border pos_weight debug",
    "test_cfg": "min_bbox_size score_voting",
}
_ELSEWHERE = {"train_cfg": "", "test_cfg": "operating_points"}  # read by what follows the head


def settings_taken(head: type[nn.Module], name: str, is_file: bool) -> tuple[frozenset[str], bool]:
    """Keys that ``model.train_cfg`` or ``model.test_cfg`` may hold, and whether it may hold more.

    More is allowed in a file whose head comes from neither mmdet nor this package: such a head may
    pass the dict on. Besides the keys that a head reads, a file may hold those that mmdet's own
    configs set under all heads but YOLOX's.

    Args:
        head: class of ``model.bbox_head``.
        name: ``train_cfg`` or ``test_cfg``.
        is_file: whether the dict comes from a file, not from an option of the command line.
    """
    is_known = head.__module__.split(".")[0] in ("mmdet", "etram_mmdet")
    by_custom = _BY_CUSTOM[name] if is_file and not issubclass(head, YOLOXHead) else ""
    return settings_read(head)[name] | {
        *_ELSEWHERE[name].split(),
        *by_custom.split(),
    }, is_file and not is_known


@functools.cache
def settings_read(head: type[nn.Module]) -> dict[str, frozenset[str]]:
    """Keys that the methods of a head look up, under ``train_cfg`` and ``test_cfg``.

    Only methods that a detector reaches count. Only the code of the class and its bases is read: a
    function that gets the whole dict may look up more keys.

    Args:
        head: class of ``model.bbox_head``.
    """
    read: dict[str, set[str]] = {"train_cfg": set(), "test_cfg": set()}
    for function in _reached(head):
        for node in ast.walk(function):
            for owner, key in _lookups(node):
                read["train_cfg" if _last_name(owner) == "train_cfg" else "test_cfg"].add(key)
    return {name: frozenset(keys) for name, keys in read.items()}


def _reached(head: type) -> Iterator[ast.FunctionDef]:
    """Methods that are called from `_ENTRIES`, directly or by others.

    Methods of bases count if ``super()`` calls them.
    """
    classes = [
        _methods(base)
        for base in head.__mro__
        if issubclass(base, nn.Module) and base is not nn.Module
    ]
    waiting = [(name, 0) for name in _ENTRIES]  # name, and the first class that is searched for it
    seen = set()
    while waiting:
        name, start = waiting.pop()
        place = next((i for i in range(start, len(classes)) if name in classes[i]), None)
        if place is None or (name, place) in seen:
            continue
        seen.add((name, place))
        function = classes[place][name]
        yield function
        used = [node for node in ast.walk(function) if isinstance(node, ast.Attribute)]
        waiting += [(node.attr, place + 1 if _is_super(node.value) else 0) for node in used]


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _last_name(node.func) == "super"


@functools.cache
def _methods(kind: type) -> dict[str, ast.FunctionDef]:
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError):  # written at a prompt
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _lookups(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """A dict of settings and the key that ``node`` looks up in it, if it does so."""
    match node:
        case ast.Attribute(value=owner, attr=key) if key not in _OF_DICTS:
            found = owner, key
        case ast.Subscript(value=owner, slice=ast.Constant(value=key)):
            found = owner, key
        case ast.Call(
            func=ast.Attribute(value=owner, attr="get" | "pop"), args=[ast.Constant(value=key), *_]
        ):
            found = owner, key
        case ast.Call(
            func=ast.Name(id="getattr" | "hasattr"), args=[owner, ast.Constant(value=key), *_]
        ):
            found = owner, key
        case ast.Compare(
            left=ast.Constant(value=key), ops=[ast.In() | ast.NotIn()], comparators=[owner]
        ):
            found = owner, key
        case _:
            return
    if _last_name(found[0]) in _CONFIGS:
        yield found


def _last_name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))
