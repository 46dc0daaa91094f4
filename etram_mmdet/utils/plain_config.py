"""Read a config file that a tool wrote, as data: nothing in it is executed.

A config that a person wrote is a Python program, and opening it runs it. The complete config that
training leaves in its folder and the file of ``tools/tune_thresholds.py`` hold literals only.
"""

from __future__ import annotations

import ast
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file
from etram_mmdet.utils.literals import literal


def read_plain_config(path: str | Path) -> dict:
    """Read the variables that a file sets to literals.

    ``dict(a=1)`` counts as a literal, and tuples become lists.

    Args:
        path: the file.

    Raises:
        InputError: when the file is missing, or holds anything but such assignments.
    """
    check_is_file(Path(path))
    try:
        statements = ast.parse(Path(path).read_text(encoding="utf-8")).body
        return {statement.targets[0].id: literal(statement.value) for statement in statements}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (RecursionError, MemoryError):  # Python's parser has either for deep nesting
        raise InputError(
            f"{path}: holds more than assignments of plain values (nested too deeply)"
        ) from None
    except (SyntaxError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: holds more than assignments of plain values ({type(error).__name__}: {error})"
        ) from error
