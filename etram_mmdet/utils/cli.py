"""Options and error reports that the command lines of all tools share.

Importing it loads the standard library only, so that ``--help`` answers at once. Every tool imports
it before anything that may load PyTorch: it also sets an environment variable that OpenMP reads
when PyTorch is loaded.
"""

from __future__ import annotations

import argparse
import ast
import math
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
        help="override keys of the config, such as train_dataloader.batch_size=2",
    )


def add_opening(
    parser: argparse.ArgumentParser, no_size: str = "in pixels, for files that do not hold it"
) -> None:
    """Add the options that say how to open a recording; :func:`opening_of` reads them.

    They are ``--sensor``, ``--event-time-unit``, ``--event-columns`` and ``--sort-events``.

    Args:
        parser: parser of a tool that opens recordings.
        no_size: help of ``--sensor``. Default: the size is for files that do not hold it.
    """
    parser.add_argument("--sensor", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help=no_size)
    parser.add_argument(
        "--event-time-unit",
        choices=("us", "ms", "ns"),
        default="us",
        help="unit of the events' time stamps (default: %(default)s)",
    )
    parser.add_argument(
        "--event-columns",
        metavar="t,x,y,p",
        help="names of the columns of a text file or array, in their order (default: detected)",
    )
    parser.add_argument(
        "--sort-events",
        action="store_true",
        help="sort the events by time; loads all of them into memory",
    )


def opening_of(args: argparse.Namespace) -> dict:
    """The options of :func:`add_opening` as ``open_recording`` takes them.

    Args:
        args: parsed command line.
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
    """Add ``--precision``, ``--fuse``, ``--compile`` and ``--cuda-graphs``, as :class:`Streamer`.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help="number format of inference; bfloat16 and float16 need a processor or GPU that "
        "computes in them (default: %(default)s)",
    )
    parser.add_argument(
        "--fuse",
        action="store_true",
        help="merge normalization layers and biases into convolutions and linear layers: faster, "
        "results differ by rounding",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="use torch.compile: takes half a minute at the start, then is fastest",
    )
    parser.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="launch the network on a GPU as one CUDA graph, without compiling it",
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``, None if not given.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx", "openvino"),
        help="what runs the network (default: torch, or onnx for a file of tools/export.py)",
    )


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Add ``--score-thr``, ``--operating-points`` and ``--step-ms``, None if not given.

    :func:`check_positive` refuses a step that is not above 0.

    Args:
        parser: parser of a tool that detects in events.
    """
    parser.add_argument(
        "--score-thr",
        type=float,
        help="score threshold of all classes, 0 to 1 (default: thresholds of --operating-points, "
        "else of the model, else 0.3)",
    )
    parser.add_argument(
        "--operating-points",
        type=Path,
        help="thresholds per class: the file that tools/tune_thresholds.py wrote",
    )
    parser.add_argument(
        "--step-ms",
        type=float,
        help="milliseconds between the ends of two windows (default: as in training)",
    )


def check_positive(
    parser: argparse.ArgumentParser, args: argparse.Namespace, *options: str
) -> None:
    """End with a sentence if a number that was given is not above 0.

    Args:
        parser: parser of the tool.
        args: parsed command line.
        options: options to look at, such as ``--step-ms``.
    """
    for option in options:
        value = getattr(args, option.lstrip("-").replace("-", "_"))
        if value is not None and not value > 0:
            parser.error(f"{option} {value}: expected more than 0")


def add_streamed_frames(parser: argparse.ArgumentParser) -> None:
    """Add ``--frame H W`` and ``--windows``: size and number of random frames to stream.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--frame",
        nargs=2,
        type=int,
        default=(360, 640),
        metavar=("H", "W"),
        help="height and width of a frame, in network pixels (default: 360 640)",
    )
    parser.add_argument(
        "--windows", type=int, default=30, help="number of frames to stream (default: %(default)s)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``, None if not given.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument("--json", type=Path, help="also write the numbers to this JSON file")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` for training with several processes; :func:`use_launcher` applies it.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="what started the processes of this training: pytorch (torchrun), slurm or mpi "
        "(default: none, one process)",
    )
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


def add_submitit(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--submitit N`` and ``--submitit-options KEY=VALUE ...``; a dict, empty if not given.

    Args:
        parser: parser of the tool.
        what: help of ``--submitit``: what becomes jobs, and what N is.
    """
    parser.add_argument(
        "--submitit",
        type=_positive,
        metavar="N",
        help=f"{what} They are jobs of the library submitit (pip install submitit): an array of "
        "Slurm, or local processes without Slurm. This command waits for them and ends them when "
        "it is stopped (default: no jobs)",
    )
    parser.add_argument(
        "--submitit-options",
        nargs="+",
        type=_key_and_value,
        default=[],
        metavar="KEY=VALUE",
        help="parameters of submitit's AutoExecutor, such as slurm_partition=cpu cpus_per_task=8 "
        "mem_gb=16 gpus_per_node=1 timeout_min=600 (default: timeout_min=1440); cluster=local "
        "starts local processes",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return number


def _key_and_value(word: str) -> tuple[str, object]:
    key, is_pair, text = word.partition("=")
    if not is_pair or not key:
        raise argparse.ArgumentTypeError(f"{word}: expected KEY=VALUE, such as cpus_per_task=8")
    try:
        return key, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return key, text


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
                    f"{option_string} {word}: expected KEY=VALUE, such as "
                    "train_dataloader.batch_size=2"
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
                    f"{option_string} {word}: the value cannot be read as Python; put it in "
                    "quotation "
                    f'marks, such as "{key}=(1, 2)" or "{key}=dict(type=\'X\')"'
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
