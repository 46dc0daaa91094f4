"""Decide which messages of a run the screen shows; the log file holds all if it can be written."""

from __future__ import annotations

import logging
import sys
import warnings
from functools import partial
from pathlib import Path

from mmengine.logging import MMLogger

from etram_mmdet.utils.files import because

# Messages that nobody who starts a run can act on: they are about how the packages call each other.
_LOGGED = (
    "The prefix is not set in metric class",
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    "Distributed training is not used, all SyncBatchNorm",
)
# One line for each frozen tensor; the summary names the frozen parts.
_SKIPPED = "is skipped since its requires_grad=False"
_WARNED = "Seems like `optimizer.step\\(\\)` has been overridden"


class Console(logging.Filter):
    """Shows warnings only, until it is opened.

    Before that, mmengine logs its environment, the whole config and all hooks.

    Attributes:
        is_open: whether messages below a warning are shown, too. Default: False.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the console shows ``record``."""
        text = record.getMessage()
        is_known = text.startswith(_LOGGED) or text.endswith(_SKIPPED)
        return not is_known and (self.is_open or record.levelno >= logging.WARNING)

    def attach(self, logger: MMLogger) -> None:
        """Filter the output of ``logger``; ignore PyTorch's warning about mmengine's schedule."""
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(
                handler, logging.FileHandler
            ):
                handler.addFilter(self)
        warnings.filterwarnings("ignore", _WARNED)


def go_on_without_log_file(logger: MMLogger) -> None:
    """Let a run go on, with one warning, if its log file cannot be written.

    Args:
        logger: logger of the run.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = partial(_go_on_without, handler)


def _go_on_without(file: logging.FileHandler, record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    if isinstance(error, OSError):
        file.handleError = lambda record: None
        path = Path(file.baseFilename)
        sys.stderr.write(
            f"WARNING {path}: the run goes on without this log: {because(error, path)}\n"
        )
    else:
        logging.Handler.handleError(file, record)
