"""Refuse keys and options of a config that have no effect or a wrong type.

A dict with a registered ``type`` may hold the parameters of that class's constructor. With
``**kwargs`` these are the parameters of its base classes too, and any further key passes that does
not look like one of them misspelt. Values are compared with the annotation of the parameter if this
project, mmengine or torch wrote it, see ``values.py``. Keys of the dicts without a type are listed
in ``untyped_keys.py``; ``model.train_cfg`` and ``model.test_cfg`` may hold the keys that the head
reads. A key at the top level of a file that nothing reads is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from mmengine.config import Config
from torch import nn

from etram_mmdet.engine.config.constructors import (
    ANYTHING,
    TABLES,
    default_of,
    is_class_name,
    registered,
)
from etram_mmdet.engine.config.known_keys import EVERYWHERE, Keys, known_keys
from etram_mmdet.engine.config.values import as_whole, why_refused
from etram_mmdet.engine.config.variables import unused_variables
from etram_mmdet.utils.errors import InputError

_INSTEAD = {"metainfo": ["class_set"]}
_SHOWN = 5


def use_whole_numbers(cfg: Config) -> None:
    """Turn numbers such as 1e3 into 1000, in place, if their key takes whole numbers only.

    Args:
        cfg: a config.
    """
    for path, found in _dicts(dict(cfg.items())):
        node = found if path else cfg
        known = known_keys(found, path)
        for key in known.types if known else ():
            if isinstance(node.get(key), float | list | tuple):
                node[key] = as_whole(node[key], known.types[key])


def check_keys(cfg: Config, source: str | Path) -> None:
    """Refuse a config with keys or values that have no effect or a wrong type.

    Args:
        cfg: the config as it was read.
        source: its file, for messages.

    Raises:
        InputError: a key is unknown, or a value does not fit it.
    """
    unused = unused_variables(cfg.filename) if cfg.filename else set(cfg)
    _refuse_wrong(str(source), _problems(cfg.to_dict(), unused))


def drop_variables(cfg: Config) -> None:
    """Remove the variables of a config file, in place: its other keys already hold their values.

    Args:
        cfg: a config.
    """
    known = known_keys(cfg.to_dict(), "")
    for key in [key for key in cfg if known.refuses(key)]:
        cfg.pop(key)


def check_options(cfg: Config, options: dict) -> None:
    """Refuse ``--cfg-options`` that have no effect or a wrong type.

    Keys are checked against the classes of the merged config. Faults that ``cfg`` already has pass;
    but a variable of its file must not be set, because the file has already used it.

    Args:
        cfg: a config, not yet merged with ``options``.
        options: values by dotted key.

    Raises:
        InputError: an option is unknown, or its value does not fit.
    """
    merged = _merged(cfg, options)
    said = {option.split(".")[0] for option in options}
    held = {p: why for p, why in _problems(cfg.to_dict()).items() if p not in said}
    found = _problems(merged.to_dict())
    _refuse_wrong("--cfg-options", {p: why for p, why in found.items() if held.get(p) != why})


def _merged(cfg: Config, options: dict) -> Config:
    merged = copy.copy(cfg)
    for option, value in options.items():
        try:
            merged.merge_from_dict({option: copy.deepcopy(value)})
        except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
            if isinstance(value, dict):
                raise InputError(
                    f"--cfg-options {option}={value!r:.80}: the config holds no dict at {option}, "
                    "so this one cannot be merged into it; set its keys one by one "
                    f"({option}.KEY=VALUE), or write it into a config file with _delete_=True"
                ) from error
            raise InputError(
                f"--cfg-options {option}: leads through a value that has no keys; set that value "
                "as a whole. In a list, give the number of an entry and a key of it, such as "
                "param_scheduler.0.KEY"
            ) from error
    return merged


def _problems(cfg: dict, unused: set[str] | None = None) -> dict[str, tuple[str, str]]:
    """Faults of a config by path, and for an unknown key the keys that may be meant.

    Args:
        cfg: a config.
        unused: names at the top level of a file that nothing reads. Without them every unknown name
            there is wrong: an option has to lead somewhere.
    """
    is_file = unused is not None
    head = _head_class(cfg)
    levels = [(path, node, known_keys(node, path, is_file, head)) for path, node in _dicts(cfg)]
    levels = [(path, node, known) for path, node, known in levels if known]
    wrong = {}
    for path, node, known in levels:
        for key in map(str, node):
            is_read = is_file and not path and key not in unused
            if known.refuses(key) and not is_read:
                meant = _keys_meant(key, path, known, levels)
                wrong[_join(path, key)] = _did_you_mean(meant), str(known)
            elif fault := _fault_of_value(node, key, known):
                wrong[_join(path, key)] = fault, ""
    return wrong | _unknown_types(cfg) | _no_types(cfg)


def _keys_meant(
    key: str, path: str, known: Keys, levels: list[tuple[str, dict, Keys]]
) -> list[str]:
    """Paths of keys that may be meant by an unknown one."""
    if key in known.elsewhere:
        return [known.elsewhere[key]]
    near = [_join(path, name) for name in get_close_matches(key, known.types, 1, 0.7)]
    elsewhere = [_join(other, key) for other, _, there in levels if key in there.types]
    return near or _INSTEAD.get(key, []) + elsewhere[:3]


def _fault_of_value(node: dict, key: str, known: Keys) -> str | None:
    if known.is_class and (default := _dict_without_type(node, key)):
        return f" has no type; the default of {node['type']} is {default}, so write the whole dict"
    if node.get(key) is None and known.may_be_open(key):
        return None
    why = why_refused(key, node.get(key), known.types.get(key, ANYTHING))
    return f" {why}" if why else None


def _dict_without_type(node: dict, key: str) -> dict | None:
    """The dict that a class has by default under a key, if ``node`` has one without type there."""
    given = node.get(key)
    if not isinstance(given, dict) or not given or {"type", *EVERYWHERE} & {*given}:
        return None
    default = default_of(registered(node["type"])[0], key)
    return default if isinstance(default, dict) and "type" in default else None


def _no_types(cfg: dict) -> dict[str, tuple[str, str]]:
    """Types that are neither a name nor a class or function."""
    kinds = {_join(path, "type"): node["type"] for path, node in _dicts(cfg) if "type" in node}
    wrong = {
        path: kind
        for path, kind in kinds.items()
        if not isinstance(kind, str) and not callable(kind)
    }
    return {
        path: (f" is {kind!r:.80}, expected the name of a class", "")
        for path, kind in wrong.items()
    }


def _head_class(cfg: dict) -> type | None:
    """Class of ``model.bbox_head``; none if it is unknown or ambiguous."""
    model = cfg.get("model")
    head = model.get("bbox_head") if isinstance(model, dict) else None
    found = registered(head.get("type")) if isinstance(head, dict) else []
    return (
        found[0]
        if len(found) == 1 and isinstance(found[0], type) and issubclass(found[0], nn.Module)
        else None
    )


def _unknown_types(cfg: dict) -> dict[str, tuple[str, str]]:
    """Types that nearly name a registered class; other types are left to their builders."""
    kinds = {_join(path, "type"): node.get("type") for path, node in _dicts(cfg)}
    unknown = {p: kind for p, kind in kinds.items() if is_class_name(kind) and not registered(kind)}
    near = {p: get_close_matches(k, set().union(*TABLES), 1, 0.8) for p, k in unknown.items()}
    return {path: (_did_you_mean(names), "") for path, names in near.items() if names}


def _did_you_mean(names: list[str]) -> str:
    return f": did you mean {' or '.join(names)}?" if names else ""


def _dicts(node: object, path: str = "") -> Iterator[tuple[str, dict]]:
    """Every dict of a config and its dotted path."""
    if isinstance(node, dict):
        yield path, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(child, dict | list | tuple):
            yield from _dicts(child, _join(path, key))


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _refuse_wrong(source: str, wrong: dict[str, tuple[str, str]]) -> None:
    if not wrong:
        return
    shown = dict(islice(wrong.items(), _SHOWN))
    lines = [f"  {path}{why}" for path, (why, _) in shown.items()]
    lines += ["  ..."] if len(wrong) > _SHOWN else []
    lines += dict.fromkeys(takes for _, takes in shown.values() if takes)
    raise InputError("\n".join([f"{source}: unknown keys or wrong values", *lines]))
