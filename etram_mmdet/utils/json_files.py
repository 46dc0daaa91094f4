"""Read JSON files that somebody else may have written or damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file, os_errors

MAX_JSON_BYTES = 1 << 24


def read_json(
    path: Path,
    advice: str,
    most_bytes: int | None = MAX_JSON_BYTES,
    object_hook: Callable[[dict], object] | None = None,
) -> object:
    """Read a JSON file; the caller checks whether the content is a dict.

    Args:
        path: file in UTF-8.
        advice: end of the error message.
        most_bytes: size from which the file is refused. Default: 16 MiB; None for any size.
        object_hook: called with every object as soon as it is read; its result takes the place of
            the object. Default: objects stay dicts.

    Raises:
        InputError: when the file is missing, too large, not JSON, nested too deeply, or holds
            half a character, which could not be printed.
    """
    check_is_file(path)
    with os_errors(path, "read"):
        if most_bytes is not None and path.stat().st_size > most_bytes:
            raise InputError(
                f"{path}: {path.stat().st_size:,} bytes, expected at most {most_bytes:,}; {advice}"
            )
        given = path.read_bytes()
    has_halves = re.search(rb"\\u[dD][89a-fA-F]", given)
    try:
        text = given.decode(json.detect_encoding(given), "surrogatepass")
        del given  # only one of the two is needed while the content grows
        content = json.loads(text, object_hook=object_hook)
        if has_halves:
            json.dumps(content, ensure_ascii=False, default=str).encode()
    except RecursionError:
        raise InputError(f"{path}: not valid JSON (nested too deeply); {advice}") from None
    except ValueError as error:  # UnicodeError is one
        raise InputError(f"{path}: not valid JSON ({error!s:.200}); {advice}") from error
    return content
