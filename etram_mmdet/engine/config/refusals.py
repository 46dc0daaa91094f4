"""Turn an error of a class about its settings into a sentence that names the settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from etram_mmdet.engine.config.constructors import TABLES
from etram_mmdet.engine.runner.rank_watch import is_collective
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import first_line, nearest

_INSTALLED = ("site-packages", "dist-packages")
# Functions of mmengine that build a part of a config, and what they call it.
_BUILDERS = (("build_from_cfg", "cfg"), ("build_dataloader", "dataloader"))
_PACKAGE = str(Path(__file__).parents[2])


@contextmanager
def refused_settings(cfg: Mapping) -> Iterator[None]:
    """Turn errors of a block that builds and tries a config into sentences about the config.

    A config has hundreds of values, and every class meets a wrong one with an error of its own. An
    error that passes through code that is neither installed nor of this package is not changed:
    whoever wrote that code needs the traceback.

    Args:
        cfg: the config, which is searched for the class that raised the error.

    Raises:
        InputError: the message names the part of the config, the class and its error.
    """
    try:
        yield
    except (InputError, FloatingPointError, NameError):  # no value makes a name unknown
        raise
    except Exception as error:
        frames = _call_frames(error)
        # behind this function and the one that called it
        has_own = any(_is_own(frame) for frame in frames[2:])
        if has_own or is_collective(error):
            raise
        raise InputError(_sentence(error, frames, cfg)) from error


def _sentence(error: Exception, frames: list[FrameType], cfg: Mapping) -> str:
    config = cfg.to_dict() if hasattr(cfg, "to_dict") else cfg
    built = [
        frame.f_locals[name]
        for frame in frames
        for code, name in _BUILDERS
        if frame.f_code.co_name == code and name in frame.f_locals
    ]
    part = built[-1] if built else None
    said = first_line(error)
    if isinstance(part, Mapping) and part and "type" not in part and isinstance(error, KeyError):
        return (
            f"{_places(part, config)}={dict(part)!r:.200}: this dict has no type, here or in "
            "_base_; add type='CLASS'"
        )
    if isinstance(error, KeyError) and " is not in the " in said:  # registry
        kind = said.split()[0]
        place = _places(dict(type=kind), config)
        return (
            f"{place}.type={kind!r}: no class of this name is registered; "
            f"{_meant(kind, set().union(*TABLES))}"
        )
    what = _named(part, config) if built else _suspects(said, config)
    file = Path(frames[-1].f_code.co_filename)
    return (
        f"{what} cannot be used ({type(error).__name__}: {said:.300}, in "
        f"{file.parent.name}/{file.name})"
    )


def _meant(kind: str, names: set[str]) -> str:
    near = nearest(kind, names)
    return (
        f"did you mean {near}?"
        if near
        else "if it is a class of your own, name its module in custom_imports"
    )


def _named(part: object, config: dict) -> str:
    """Place, class and plain settings of the part of a config that could not be built."""
    if not isinstance(part, Mapping):
        return f"{part!r:.80}, where a dict with a type is expected,"
    plain = {
        k: v for k, v in part.items() if k != "type" and isinstance(v, str | int | float | None)
    }
    settings = ", ".join(f"{key}={value!r:.40}" for key, value in plain.items())
    kind = part.get("type", "dict")
    return f"{_places(part, config)}: {getattr(kind, '__name__', kind)}({settings:.300})"


def _places(part: Mapping, config: dict) -> str:
    """Places of a dict in a config; if it was changed meanwhile, places of dicts of its type."""
    dicts = [(path, node) for path, node in _nodes(config) if isinstance(node, dict)]
    same = [path for path, node in dicts if node == part]
    alike = [path for path, node in dicts if "type" in part and node.get("type") == part["type"]]
    return " or ".join((same or alike)[:3]) or "the config"


def _suspects(said: str, config: dict) -> str:
    """The settings whose text an error quotes."""
    quoted = [
        path
        for path, node in _nodes(config)
        if isinstance(node, str) and node and repr(node) in said
    ]
    return " or ".join(quoted[:3]) or "the config"


def _nodes(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    yield path, node
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list | tuple)
        else ()
    )
    for key, child in children:
        yield from _nodes(child, f"{path}.{key}".removeprefix("."))


def _call_frames(error: BaseException) -> list[FrameType]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(trace.tb_frame)
        trace = trace.tb_next
    return found


def _is_own(frame: FrameType) -> bool:
    """Whether a frame runs code that a user wrote, outside of this project."""
    name = frame.f_code.co_filename
    is_library = name.startswith((_PACKAGE, sys.base_prefix, sys.prefix, "<"))
    return not is_library and not any(part in name for part in _INSTALLED)
