"""Find the variables of a config file that nothing reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import mmengine

from etram_mmdet.engine.config.reading import bases, parse

_OF_A_BASE = re.compile(r"\{\{\s*_base_\.(\w+)[\w.]*\s*\}\}")  # {{_base_.lr}}
_OF_A_RUN = {"work_dir", "launcher"}  # keys that the tools add before a run writes its config


def unused_variables(path: str | Path) -> set[str]:
    """Names that a config file, or a file that it builds upon, assigns and none of them reads.

    After ``lr = 0.1`` the name is read by ``dict(lr=lr)`` in the same file and by ``_base_.lr`` in
    a file that builds upon it. Assigning a variable of a base again does not count as reading it:
    the base has already used its own value. Bases in another package (``mmdet::...``) are not
    read. In the complete config that training leaves in its folder nothing counts as unused,
    because all variables were filled in when it was written. A name that starts with ``_`` is never
    counted.

    Args:
        path: a config file. Its text is parsed; nothing in it is executed.
    """
    return {name for name in _unused(Path(path), set()) if not name.startswith("_")}


def _unused(path: Path, read_elsewhere: set[str]) -> set[str]:
    if not path.is_file():
        return set()
    if path.suffix != ".py":
        return set(mmengine.load(path)) - read_elsewhere
    nodes = parse(path)
    assigned = _variable_names(nodes, ast.Store)
    read = _variable_names(nodes, ast.Load)
    if assigned >= _OF_A_RUN and read <= {"dict"}:
        return set()
    passed_on = read | read_elsewhere | _read_from_bases(nodes, path.read_text(encoding="utf-8"))
    in_bases = [_unused(path.parent / base, passed_on) for base in bases(nodes)]
    return (assigned - read - read_elsewhere).union(*in_bases)


def _variable_names(nodes: list[ast.AST], context: type) -> set[str]:
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def _read_from_bases(nodes: list[ast.AST], text: str) -> set[str]:
    """Names that are read as ``_base_.NAME`` or ``{{_base_.NAME}}``."""
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    of_bases = {node.attr for node in attributes if getattr(node.value, "id", "") == "_base_"}
    return of_bases | set(_OF_A_BASE.findall(text))
