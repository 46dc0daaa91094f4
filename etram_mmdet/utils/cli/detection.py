"""Options of tools that run a detector."""

from __future__ import annotations

import argparse
from pathlib import Path

PRECISIONS = ("float32", "bfloat16", "float16")  # precisions of inference by torch's names


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
