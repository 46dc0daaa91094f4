"""Messages to the user, with and without mmengine."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress


def say(sentence: str, level: int = logging.INFO) -> None:
    """Log a sentence with mmengine's logger, or print it to stderr if mmengine is not loaded.

    Args:
        sentence: the message.
        level: level of :mod:`logging`; from WARNING its name comes first in print. Default: INFO.
    """
    if "mmengine" in sys.modules:
        from mmengine.logging import print_log

        print_log(sentence, "current", level)
    else:
        prefix = f"{logging.getLevelName(level)} " if level >= logging.WARNING else ""
        tell(f"{prefix}{sentence}")


def tell(line: str) -> None:
    """Print a line to stderr. A closed terminal or the full disk of a log ends no program.

    Args:
        line: the message.
    """
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
