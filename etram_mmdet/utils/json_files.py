"""Read JSON files that somebody else may have written or damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_is_file, os_errors

MAX_JSON_BYTES = 1 << 24


def read_json(path: Path, advice: str, most_bytes: int | None = MAX_JSON_BYTES) -> object:
    """Read a JSON file; the caller checks whether the content is a dict.

    Args:
        path: file in UTF-8.
        advice: end of the error message.
        most_bytes: size from which the file is refused. Default: 16 MiB; None for any size.

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
        text = path.read_bytes()
    try:
        content = json.loads(text)
        if re.search(rb"\\u[dD][89a-fA-F]", text):
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise InputError(f"{path}: not valid JSON (nested too deeply); {advice}") from None
    except ValueError as error:  # UnicodeError is one
        raise InputError(f"{path}: not valid JSON ({error!s:.200}); {advice}") from error
    return content
