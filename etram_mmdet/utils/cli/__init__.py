"""Parsers and error reports that the command lines of all tools share; options are in its modules.

Importing it loads the standard library only, so that ``--help`` answers at once. Every tool imports
it before anything that may load PyTorch: it also sets an environment variable that OpenMP reads
when PyTorch is loaded.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etram_mmdet.utils import threads  # noqa: F401  before PyTorch is loaded
from etram_mmdet.utils.machine_errors import sentence_of
from etram_mmdet.utils.notices import tell

# The name of a file may hold bytes that are no text; printing it must not end a tool.
if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(errors="backslashreplace")


def make_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help begins with the docstring of the tool, with its line breaks.

    Its options of ``type=float`` take finite numbers only; :func:`any_number` takes others, too.

    Args:
        doc: docstring of the tool.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", float, _finite)
    return parser


def any_number(text: str) -> float:
    """Type of an option that may be ``inf``.

    Args:
        text: word of the command line.
    """
    return float(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text}")
    return number


def check_positive(
    parser: argparse.ArgumentParser, args: argparse.Namespace, *options: str
) -> None:
    """End with a sentence if a number that was given, or one of several, is not above 0.

    Args:
        parser: parser of the tool.
        args: parsed command line.
        options: options to look at, such as ``--step-ms``.
    """
    for option in options:
        given = getattr(args, option.lstrip("-").replace("-", "_"))
        values = given if isinstance(given, list | tuple) else [given]
        for value in values:
            if value is not None and not value > 0:
                parser.error(f"{option} {value}: expected more than 0")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``, None if not given.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument("--json", type=Path, help="also write the numbers to this JSON file")


@contextmanager
def exit_on_input_error(interrupted: str = "interrupted") -> Iterator[None]:
    """Report errors of a user or a machine in one line on stderr and exit with status 1.

    :func:`sentence_of` decides which errors these are. Ctrl-C exits with status 130, as in shells.
    Another signal of :func:`stop_once` has its own status: 143 for SIGTERM, 129 for SIGHUP.

    Args:
        interrupted: line that is printed after Ctrl-C. Default: ``interrupted``.
    """
    try:
        yield
    except BaseException as error:
        signal = _interrupt_behind(error)
        if signal is not None:
            tell(interrupted)
            raise SystemExit(getattr(signal, "exit_status", 130)) from error
        sentence = sentence_of(error) if isinstance(error, Exception) else None
        if sentence is None:
            raise
        tell(f"error: {sentence}")
        raise SystemExit(1) from error


def _interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that caused ``error``, if any.

    mmengine reports a Ctrl-C that comes while it formats a config as a syntax error.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error
