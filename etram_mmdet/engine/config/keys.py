"""Refuse keys of a config or of ``--cfg-options`` that nothing would read: misspelt, they train something else."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmengine.config import Config

from etram_mmdet.engine.config.known_keys import KnownKeys, known_keys
from etram_mmdet.engine.config.signatures import is_class_name, registered, tables
from etram_mmdet.utils.errors import InputError

_SHOWN = 5


@dataclass(frozen=True)
class _Unknown:
    """A key that nothing reads: the paths that were ``meant`` perhaps, and what is ``known`` at its place."""

    meant: list[str]
    known: KnownKeys | None = None


def check_keys(cfg: Config, source: str | Path) -> None:
    """Raise ``InputError`` where ``cfg``, read from the file ``source``, has keys that nothing reads.

    Variables of a user's own pass unless they look like a misspelt key.
    """
    _refuse(str(source), _unknown(cfg.to_dict(), is_option=False))


def check_options(cfg: Config, options: dict) -> None:
    """Raise ``InputError`` where ``--cfg-options``, not yet merged into ``cfg``, lead to keys that nothing reads.

    The classes that they choose decide; what ``cfg`` holds already is not their fault and passes.
    """
    merged = copy.copy(cfg)
    for option, value in options.items():
        _check_path(merged.to_dict(), option, value)
        merged.merge_from_dict({option: copy.deepcopy(value)})
    before = _unknown(cfg.to_dict(), is_option=True)
    after = _unknown(merged.to_dict(), is_option=True)
    _refuse("--cfg-options", {path: found for path, found in after.items() if path not in before})


def _check_path(node: object, option: str, value: object) -> None:
    """Raise ``InputError`` where mmengine could not follow the dotted path ``option`` to give ``value`` to it."""
    place = ""
    for part in option.split("."):
        if isinstance(node, dict) and part not in node:
            return
        is_end = _join(place, part) == option and not isinstance(value, dict)
        problem = _problem(node, part, is_end)
        if problem:
            raise InputError(f"--cfg-options {option}: {place} is {problem}")
        node, place = node[int(part) if isinstance(node, list) else part], _join(place, part)


def _problem(node: object, part: str, is_end: bool) -> str:
    if isinstance(node, dict):
        return ""
    if not isinstance(node, list):
        return f"{node!r} and has no keys; set it as a whole, in a config file where it takes a dict"
    if part.isdigit() and int(part) < len(node) and not is_end:
        return ""
    return f"a list of {len(node)}; name an entry and a key of that, like 0.KEY, or set the list as a whole"


def _unknown(cfg: dict, is_option: bool) -> dict[str, _Unknown]:
    """What is wrong with a config, by path."""
    levels = [(path, node, known_keys(node, path, is_option)) for path, node in _dicts(cfg)]
    levels = [level for level in levels if level[2]]
    wrong = {}
    for path, node, known in levels:
        for key in filter(known.refuses, map(str, node)):
            near = difflib.get_close_matches(key, known.names, 1, 0.7)
            elsewhere = [_join(other, key) for other, _, there in levels if key in there.names]
            wrong[_join(path, key)] = _Unknown([_join(path, name) for name in near] or elsewhere[:3], known)
    return wrong | _unknown_types(cfg)


def _unknown_types(cfg: dict) -> dict[str, _Unknown]:
    """Types that are nearly the name of a registered class; others are left to whatever builds from them."""
    wrong = {}
    for path, node in _dicts(cfg):
        kind = node.get("type")
        if is_class_name(kind) and not registered(kind):
            near = difflib.get_close_matches(kind, set().union(*tables()), 1, 0.8)
            wrong |= {_join(path, "type"): _Unknown(near)} if near else {}
    return wrong


def _dicts(node: object, path: str = "") -> Iterator[tuple[str, dict]]:
    """Every dict of a config and its dotted path."""
    if isinstance(node, dict):
        yield path, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(child, dict | list | tuple):
            yield from _dicts(child, _join(path, key))


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _refuse(source: str, wrong: dict[str, _Unknown]) -> None:
    if not wrong:
        return
    shown = dict(islice(wrong.items(), _SHOWN))
    lines = [path + (f": did you mean {' or '.join(key.meant)}?" if key.meant else "") for path, key in shown.items()]
    lines += ["..."] if len(wrong) > _SHOWN else []
    known = dict.fromkeys(str(key.known) for key in shown.values() if key.known)
    raise InputError("\n".join([f"{source}: unknown keys", *(f"  {line}" for line in lines), *known]))
