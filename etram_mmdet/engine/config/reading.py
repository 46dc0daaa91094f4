"""Read a config file, and say what is wrong with it or with the files that it builds upon."""

from __future__ import annotations

import ast
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file
from etram_mmdet.utils.kinds import check_kind
from etram_mmdet.utils.machine_errors import sentence_of
from etram_mmdet.utils.text import first_line

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}")  # {{_base_.lr}}, {{fileBasename}}, {{$HOME:default}}


def read_config(path: Path) -> Config:
    """Read a config file by mmengine; errors name the file and the line.

    A config is a program. Its own errors are reported with the line of the file that raised them.

    Args:
        path: the config file.

    Raises:
        InputError: the file, or one that it builds upon, is missing, of another kind, not valid
            Python, empty or not in UTF-8; files build upon each other in a circle; two bases of one
            file set the same key.
    """
    check_kind(path, "config")
    check_is_file(path)
    _check_chain(path, ())
    try:
        return Config.fromfile(path)
    except Exception as error:
        # mmengine writes a copy before it reads it
        if isinstance(error, OSError) and error.filename is None:
            raise InputError(f"{path}: {sentence_of(error) or error}") from error
        while isinstance(error, ImportError) and isinstance(error.__context__, ImportError):
            error = error.__context__  # which module is missing, not which import failed for it
        raise InputError(
            f"{_place(error, path)}: {type(error).__name__}: {first_line(error):.300}"
        ) from error


def parse(path: Path) -> list[ast.AST]:
    """Every node of a config file's syntax tree; mmengine's placeholders count as the number 0.

    Args:
        path: the config file.

    Raises:
        InputError: the file is not in UTF-8, or not valid Python.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        return list(ast.walk(ast.parse(_PLACEHOLDER.sub("0", text.removeprefix("\ufeff")))))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise InputError(f"{path}{line}: is not valid Python ({error.msg})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: is not valid Python ({error})") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error


def bases(nodes: list[ast.AST]) -> Iterator[str]:
    """Relative paths of the files that a config builds upon.

    They are named in ``_base_ = [...]``, and in the newer style in ``from .base import *``.

    Args:
        nodes: from :func:`parse`.
    """
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            yield "../" * (node.level - 1) + node.module.replace(".", "/") + ".py"
        is_base = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_"
        if is_base:
            stated = _literal_value(node.value)
            yield from [stated] if isinstance(stated, str) else stated


def _literal_value(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):  # computed: mmengine refuses it, or reads it
        return []


def _check_chain(path: Path, above: tuple[Path, ...]) -> None:
    if path.resolve() in above:
        chain = " -> ".join(each.name for each in (*above, path))
        raise InputError(f"{path}: builds upon itself ({chain}); remove it from _base_")
    if not path.is_file():
        raise InputError(f"{above[-1]}: builds upon {path}, which does not exist; correct _base_")
    if path.suffix != ".py":
        return
    if path.read_bytes().startswith(b"\xef\xbb\xbf"):
        raise InputError(
            f"{path}: begins with a byte-order mark; save it as UTF-8 without one (plain UTF-8)"
        )
    nodes = parse(path)
    if not any(isinstance(node, ast.stmt) for node in nodes):
        raise InputError(f"{path}: is empty; begin with _base_ = 'CONFIG', a config to build upon")
    nexts = [path.parent / base for base in bases(nodes) if "::" not in base]
    for base in nexts:
        _check_chain(base, (*above, path.resolve()))
    # in the newer style the later parent counts
    if not any(isinstance(node, ast.ImportFrom) for node in nodes):
        _check_parents(path, nexts)


def _check_parents(path: Path, parents: list[Path]) -> None:
    """Refuse two parents that set one key; mmengine's own error names the key alone."""
    keys = [(key, parent.name) for parent in parents for key in _keys(parent)]
    for key, count in Counter(key for key, _ in keys).items():
        if count > 1:
            both = " and ".join(name for of, name in keys if of == key)
            raise InputError(
                f"{path}: {both}, both in _base_, set {key}; keep one of them in _base_ and write "
                "the rest here"
            )


def _keys(path: Path) -> set[str]:
    """Names that a config file or one that it builds upon sets at the top level."""
    if path.suffix != ".py":
        return set()
    tree = parse(path)
    names = {
        name.id
        for statement in tree[0].body
        for name in _targets(statement)
        if not name.id.startswith("__")
    }
    inherited = [_keys(path.parent / base) for base in bases(tree) if "::" not in base]
    return (names - {"_base_"}).union(*inherited)


def _targets(statement: ast.stmt) -> list[ast.Name]:
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return [target for target in targets if isinstance(target, ast.Name)]


def _place(error: Exception, path: Path) -> str:
    """The config that raised an error, with the line; else the one that was read."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.name == "<module>" and frame.filename.endswith(".py")]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else str(path)
