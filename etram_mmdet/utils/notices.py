"""Sentences for the user, also where mmengine is not installed."""

from __future__ import annotations

import logging
import sys


def say(sentence: str, level: int = logging.INFO) -> None:
    """Log a sentence where mmengine logs, or print it if mmengine is not in use.

    Args:
        sentence: what the user should know.
        level: of :mod:`logging`. Default: INFO.
    """
    if "mmengine" in sys.modules:
        from mmengine.logging import print_log

        print_log(sentence, "current", level)
    else:
        prefix = f"{logging.getLevelName(level)} " if level >= logging.WARNING else ""
        print(f"{prefix}{sentence}", file=sys.stderr)
