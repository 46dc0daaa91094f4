"""Values that a key of a config takes, by the parameter's annotation and by known limits."""

from __future__ import annotations

import ast
import functools
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

from etram_mmdet.engine.config.constructors import Types
from etram_mmdet.utils.text import did_you_mean

_SEQUENCE = (list, tuple)
_ACCEPTED = {
    "int": Integral,
    "float": Real,
    "bool": Integral,
    "str": (str, os.PathLike),
    "dict": Mapping,
    "Mapping": Mapping,
    "list": _SEQUENCE,
    "tuple": _SEQUENCE,
    "Sequence": _SEQUENCE,
    "Iterable": _SEQUENCE,
}
_SCALARS = ("int", "float", "bool", "str")
_OF_ITEMS = [name for name, accepted in _ACCEPTED.items() if accepted is _SEQUENCE]
_DATA = (str, int, float, list, tuple)  # of a dict anything may be built
_IN_SMALL = {"List": "list", "Tuple": "tuple", "Dict": "dict"}
# Least values: smaller numbers fail late, or never do anything.
_LEAST = {
    "max_iters": 1,
    "max_epochs": 1,
    "val_interval": 1,
    "val_begin": 0,
    "batch_size": 1,
    "num_workers": 0,
    "prefetch_factor": 1,
    "seed": 0,
    "accumulative_counts": 1,
    "base_batch_size": 1,
    "rank_timeout_s": 1,
}
_CHOICES = {
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    "mp_start_method": tuple(multiprocessing.get_all_start_methods()),
}


def why_refused(key: str, value: object, types: Types) -> str:
    """Fault of a value, such as ``is 'two', expected int``; empty if there is none.

    Args:
        key: the key, some of which have a least value or a list of choices.
        value: its value.
        types: annotations of the parameter, as text.
    """
    # left out, for a class that makes what is needed itself
    if value is None and not _are_scalars(types):
        return ""
    if not suits(value, types):
        return f"is {value!r:.80}, expected {_readable_types(types)}"
    if isinstance(value, Real) and value < _LEAST.get(key, value):
        return f"is {value!r:.80}, expected at least {_LEAST[key]}"
    if isinstance(value, str) and value not in _CHOICES.get(key, (value,)):
        return f"is {value!r:.80}; {did_you_mean(value, _CHOICES[key])}"
    return ""


def suits(value: object, types: Types) -> bool:
    """Whether a parameter of these types takes a value.

    Whole numbers pass as float, numbers as bool, paths as str, lists as tuples, and 1e3 as the
    whole number 1000. Parts of an annotation beyond plain types are ignored.

    Args:
        value: the value.
        types: annotations of the parameter, as text.
    """
    return any(_suits(value, _parsed(text)) for text in types)


def as_whole(value: object, types: Types) -> object:
    """A number such as 1e3 as a whole number, if the parameter takes no other.

    Numbers in lists are treated alike; other values are returned unchanged.

    Args:
        value: the value.
        types: annotations of the parameter, as text.
    """
    if isinstance(value, _SEQUENCE):
        takes_others = suits([0.5 for _ in value], types)
        return value if takes_others else type(value)(_as_integer(item) for item in value)
    return value if suits(0.5, types) else _as_integer(value)


def _as_integer(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _are_scalars(types: Types) -> bool:
    return all(
        _annotation_name(member) in _SCALARS for text in types for member in _members(_parsed(text))
    )


@functools.cache
def _parsed(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _suits(value: object, annotation: ast.expr) -> bool:
    """Whether an annotation takes a value.

    Of several members the plain ones decide about plain data: no text is a ``float | Tensor``.
    """
    members = _members(annotation)
    plain = [member for member in members if _annotation_name(member) in _ACCEPTED]
    return any(
        _is_one(value, member)
        for member in (plain if plain and isinstance(value, _DATA) else members)
    )


def _is_one(value: object, member: ast.expr) -> bool:
    name = _annotation_name(member)
    if name in ("None", "NoneType"):
        return value is None
    if name == "int" and isinstance(value, float):
        return value.is_integer()
    if not isinstance(value, _ACCEPTED.get(name, object)):
        return False
    has_items = isinstance(member, ast.Subscript) and name in _OF_ITEMS
    return not has_items or _items_suit(value, _items(member))


def _members(annotation: ast.expr) -> list[ast.expr]:
    """Members of an annotation: int and None of ``Optional[int]`` and of ``int | None``.

    Any other annotation is its only member.
    """
    match annotation:
        case ast.BinOp(left=left, right=right):
            return _members(left) + _members(right)
        case ast.Subscript(value=outer) if _annotation_name(outer) in ("Optional", "Union"):
            return [member for item in _items(annotation) for member in _members(item)]
    return [annotation]


def _items_suit(values: Sequence, annotations: list[ast.expr]) -> bool:
    """Whether items fit a list, or a tuple of any or of a given length."""
    is_pair = len(annotations) > 1 and not (
        isinstance(annotations[1], ast.Constant) and annotations[1].value is ...
    )
    if is_pair:
        return len(values) == len(annotations) and all(map(_suits, values, annotations))
    return all(_suits(value, annotations[0]) for value in values)


def _items(subscript: ast.Subscript) -> list[ast.expr]:
    return subscript.slice.elts if isinstance(subscript.slice, ast.Tuple) else [subscript.slice]


def _annotation_name(annotation: ast.expr) -> str:
    """Name of an annotation without its module and brackets."""
    if isinstance(annotation, ast.Constant):
        return str(annotation.value)
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    name = getattr(outer, "attr", getattr(outer, "id", ""))
    return _IN_SMALL.get(name, name)


def _readable_types(types: Types) -> str:
    """Annotations for people: ``Optional[int]`` is ``int``.

    Of ``Module | dict`` a config can hold only the dict.
    """
    members = [member for text in types for member in _members(_parsed(text))]
    plain = [member for member in members if _annotation_name(member) in _ACCEPTED]
    names = [
        ast.unparse(each) if isinstance(each, ast.Subscript) else _annotation_name(each)
        for each in plain or members
    ]
    return " or ".join(dict.fromkeys(names))
