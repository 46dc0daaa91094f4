"""Text for people: tables, numbers, settings that differ, and suggestions for misspelt names."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

MISSING = "-"
_WIDEST = 60  # characters; a longer cell stands out of its Markdown column instead of widening it


def table(rows: Iterable[Sequence[object]], gap: int = 2, left: Collection[int] = (0,)) -> str:
    """Rows as lines of a terminal, each column as wide as its widest cell.

    Args:
        rows: cells of each line, the head first; ``None`` is shown as `MISSING`.
        gap: spaces between two columns. Default: 2.
        left: numbers of the columns that are flush left; the others are flush right. Default:
            the first.
    """
    cells = [[MISSING if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = [str.ljust if i in left else str.rjust for i in range(len(widths))]
    lines = [
        [side(cell, width) for side, cell, width in zip(align, row, widths, strict=True)]
        for row in cells
    ]
    return "\n".join((" " * gap).join(line).rstrip() for line in lines)


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown whose columns also line up in a terminal.

    A ``|`` in a cell is escaped.

    Args:
        head: names of the columns.
        rows: cells of each line.
    """
    cells = [
        [" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in (head, *rows)
    ]
    widths = [max(3, min(_WIDEST, max(map(len, column)))) for column in zip(*cells, strict=True)]
    rule = ["-" * width for width in widths]
    lines = [" | ".join(map(str.ljust, row, widths)) for row in (cells[0], rule, *cells[1:])]
    return "\n".join(f"| {line} |" for line in lines)


def printable(name: str) -> str:
    """The name of a file as UTF-8 can hold it: other bytes are written as escapes.

    Args:
        name: name of the file.
    """
    return name.encode("utf-8", "backslashreplace").decode()


def number(value: float | None, digits: int = 0) -> str:
    """A number with commas between thousands; `MISSING` for ``None`` and NaN.

    Args:
        value: the number.
        digits: digits after the point. Default: 0.
    """
    return MISSING if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as ``12.3 %``; `MISSING` for ``None`` and NaN.

    Args:
        share: from 0 to 1.
        digits: digits after the point. Default: 1.
    """
    return MISSING if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most similar to ``name``; None if none is similar enough.

    Args:
        name: misspelt name.
        known: names that exist.
        cutoff: lowest similarity from 0 to 1, as `difflib.get_close_matches` measures it.
            Default: 0.6.
    """
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), None)


def did_you_mean(name: str, known: Collection[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them.

    Args:
        name: unknown name.
        known: names that exist.
        cutoff: lowest similarity from 0 to 1, as for :func:`nearest`. Default: 0.6.
    """
    meant = nearest(name, known, cutoff)
    return f"did you mean {meant}?" if meant else f"expected one of {', '.join(known)}"


def shortened(names: Sequence[str], most: int = 8) -> str:
    """The first names of a list, and how many more there are.

    Args:
        names: all names.
        most: number of names that are written. Default: 8.
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; a KeyError's without the quotes around it.

    Args:
        error: any error.
    """
    said = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return (said.splitlines() or [""])[0]


def shown(value: object) -> str:
    """A setting as text: classes like ``ClipZoom(scale=2)``, a missing one as ``unset``.

    Args:
        value: value of the setting in a config.
    """
    if isinstance(value, dict):
        settings = ", ".join(f"{key}={shown(each)}" for key, each in value.items() if key != "type")
        return f"{value.get('type', 'dict')}({settings})".removesuffix("()")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return "unset" if value is None else str(value)


def differences(
    values: Sequence,
    path: str = "",
    *,
    ignored: Callable[[str], bool] = lambda key: False,
    setting: Callable[[dict, str], object] = dict.get,
) -> dict[str, list]:
    """The settings that differ between nested dicts of settings, such as configs.

    Lists are compared item by item if all of them list the same types in the same order, else as
    one setting. A tuple equals a list of the same items.

    Args:
        values: settings of each side, two or more.
        path: dotted path of these values. Default: the top.
        ignored: whether a key does not count, at any depth. Default: all count.
        setting: value of a key in a dict. Default: ``None`` when the dict lacks it.

    Returns:
        The values of all sides by the dotted path of every setting that differs.
    """
    if all(isinstance(value, dict) for value in values):
        keys = sorted(set().union(*values), key=str)
        parts = {key: [setting(value, key) for value in values] for key in keys if not ignored(key)}
    elif all(_types(value) == _types(values[0]) != [] for value in values):
        parts = dict(enumerate(zip(*values, strict=True)))
    else:
        is_same = all(_as_lists(value) == _as_lists(values[0]) for value in values)
        return {} if is_same else {path: list(values)}
    found = {}
    for key, part in parts.items():
        found |= differences(
            part, f"{path}.{key}".removeprefix("."), ignored=ignored, setting=setting
        )
    return found


def changes(before: dict, after: dict, path: str = "") -> list[str]:
    """One line per setting that differs, such as ``model.backbone.patch_size: 4, now 2``.

    Args:
        before: earlier settings.
        after: later settings.
        path: dotted path of these settings. Default: the top.
    """
    found = differences([before, after], path)
    return [f"{place}: {shown(old)}, now {shown(new)}" for place, (old, new) in found.items()]


def as_plain(value: object) -> object:
    """Convert tuples to lists and mmengine's dicts to plain ones, as if read from a JSON file.

    Args:
        value: nested dicts, lists and tuples of plain values.
    """
    if isinstance(value, Mapping):
        return {key: as_plain(child) for key, child in value.items()}
    return [as_plain(child) for child in value] if isinstance(value, list | tuple) else value


def _types(value: object) -> list[str]:
    """Types of a list of registered classes; empty for anything else."""
    items = value if isinstance(value, list | tuple) else []
    return (
        [item["type"] for item in items]
        if all(isinstance(i, dict) and "type" in i for i in items)
        else []
    )


def _as_lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_lists(each) for key, each in value.items()}
    return [_as_lists(each) for each in value] if isinstance(value, list | tuple) else value
