"""Options and error reports that the command lines of all tools share.

Importing it loads the standard library only, so that ``--help`` answers at once. Every tool imports
it before anything that may load PyTorch: it also sets an environment variable that OpenMP reads
when PyTorch is loaded.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils import threads  # noqa: F401  before PyTorch is loaded
from etram_mmdet.utils.literals import literal
from etram_mmdet.utils.machine_errors import sentence_of

if TYPE_CHECKING:
    from mmengine.config import Config

# The name of a file may hold bytes that are no text; printing it must not end a tool.
if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(errors="backslashreplace")

PRECISIONS = ("float32", "bfloat16", "float16")  # precisions of inference by torch's names


def make_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help begins with the docstring of the tool, line by line as it stands there.

    Args:
        doc: docstring of the tool.
    """
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument ``config``.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument("config", help="config file, for example configs/patch2_sizeaware.py")


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...``, a dict of dotted keys; None if not given.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_CfgOptions,
        metavar="KEY=VALUE",
        help="override the config",
    )


def add_opening(
    parser: argparse.ArgumentParser, no_size: str = "in pixels, for files that do not say"
) -> None:
    """``--sensor``, ``--event-time-unit``, ``--event-columns`` and ``--sort-events``, which :func:`opening_of` reads.

    Args:
        parser: parser of a tool that opens recordings.
        no_size: help of ``--sensor``.
    """
    parser.add_argument("--sensor", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help=no_size)
    parser.add_argument(
        "--event-time-unit",
        choices=("us", "ms", "ns"),
        default="us",
        help="of the stamps of events",
    )
    parser.add_argument(
        "--event-columns", metavar="t,x,y,p", help="what the columns of text or of an array are"
    )
    parser.add_argument(
        "--sort-events", action="store_true", help="sort events by time, all of them in memory"
    )


def opening_of(args: argparse.Namespace) -> dict:
    """The options of :func:`add_opening` as ``open_recording`` takes them.

    Args:
        args: what the parser found.
    """
    return dict(
        sensor_px=tuple(args.sensor) if args.sensor else None,
        time_unit=args.event_time_unit,
        sort=args.sort_events,
        columns=args.event_columns,
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, None if not given.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: the GPU if there is one")


def add_streaming(parser: argparse.ArgumentParser) -> None:
    """Add ``--precision``, ``--fuse`` and ``--compile``, as :class:`Streamer` takes them.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help="of inference; the lower ones need a processor or GPU that computes in them",
    )
    parser.add_argument(
        "--fuse", action="store_true", help="fold norms and biases: faster, other rounding"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile: half a minute first, then fastest"
    )


def add_streamed_frames(parser: argparse.ArgumentParser) -> None:
    """Add ``--frame H W`` and ``--windows``: size and number of made-up frames to stream.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--frame",
        nargs=2,
        type=int,
        default=(360, 640),
        metavar=("H", "W"),
        help="network pixels",
    )
    parser.add_argument("--windows", type=int, default=30, help="how many to stream")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``, None if not given.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument("--json", type=Path, help="write the numbers here too")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` for training with several processes; :func:`use_launcher` applies it.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def use_launcher(cfg: Config, args: argparse.Namespace) -> None:
    """Write the launcher into the config, and this process's number into ``LOCAL_RANK``.

    mmengine reads both there.

    Args:
        cfg: config that is changed.
        args: parsed command line with the options of :func:`add_launcher`.
    """
    cfg.launcher = args.launcher
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))


class _CfgOptions(argparse.Action):
    """mmengine's ``DictAction``, imported only if the option is given: the import takes seconds.

    It also reads ``dict(type='X')`` and lists of such dicts, and keeps blanks in a text.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for word in values:
            key, is_pair, text = word.partition("=")
            if not is_pair or not all(key.split(".")):
                parser.error(
                    f"{option_string} {word}: expected KEY=VALUE, such as train_dataloader.batch_size=2"
                )
            try:
                options[key] = _option_value(text)
            except (
                SyntaxError,
                ValueError,
                TypeError,
                AttributeError,
                AssertionError,
                RecursionError,
            ):
                parser.error(
                    f"{option_string} {word}: the value is no Python; write it in quotation marks, such as "
                    f'"{key}=(1, 2)" or "{key}=dict(type=\'X\')"'
                )
        setattr(namespace, self.dest, options)


def _option_value(text: str) -> object:
    from mmengine.config import DictAction

    if text.lstrip("[( ").startswith(("dict(", "{")):
        return literal(ast.parse(text, mode="eval").body, names_are_text=True)
    if text.startswith(("(", "[")) or "," in text:
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text.strip("'\""))


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
            print(interrupted, file=sys.stderr)
            raise SystemExit(getattr(signal, "exit_status", 130)) from error
        sentence = sentence_of(error) if isinstance(error, Exception) else None
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        raise SystemExit(1) from error


def _interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that caused ``error``, if any.

    mmengine reports a Ctrl-C that comes while it formats a config as a syntax error.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error
