"""Export a checkpoint to ONNX, so that it runs without PyTorch.

Example: python tools/export.py work_dirs/demo detector.onnx

Reads a checkpoint, which carries its config. The example takes about ten seconds.
Writes OUT.onnx and OUT.json. The graph computes one step of the detector: it takes a frame and the
recurrent state, and returns boxes, scores and the next state. OUT.json holds everything that a
program needs to run it: frame size, representation, classes, thresholds and states. The same is in
the metadata of OUT.onnx.

Run it with tools/detect.py OUT.onnx RECORDING, or with
etram_mmdet.deploy.runtime.EventInferencer("OUT.onnx").
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from etram_mmdet.deploy.description import OPSET, OPSETS
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options

if TYPE_CHECKING:
    from torch import nn

    from etram_mmdet.deploy.description import Description


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="[CONFIG] CHECKPOINT OUT.onnx",
        help="CHECKPOINT: a file, a work folder (its newest checkpoint), or the word demo",
    )
    parser.add_argument(
        "--sensor",
        nargs=2,
        type=int,
        metavar=("WIDTH", "HEIGHT"),
        help="size of the sensor in pixels (default: as in training)",
    )
    parser.add_argument(
        "--opset",
        type=int,
        choices=OPSETS,
        default=OPSET,
        help="version of ONNX's operators; older runtimes need a lower one (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        help="number format of the weights; float16 halves the file (default: %(default)s)",
    )
    parser.add_argument(
        "--batch",
        default="1",
        help="number of streams in one call, or the word free, to choose it in every call "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--int8",
        nargs="+",
        type=Path,
        metavar="RECORDING",
        help="store weights and maps in 8 bits, with ranges measured on these recordings "
        "(default: do not)",
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if len(args.paths) not in (2, 3):
        parser.error(f"expected [CONFIG] CHECKPOINT OUT.onnx, got {len(args.paths)} paths")
    args.config, args.checkpoint, args.out = [None, *args.paths][-3:]
    if args.out.suffix != ".onnx":
        parser.error(f"{args.out}: expected a name that ends in .onnx")
    if args.batch != "free" and not (args.batch.isdecimal() and int(args.batch)):
        parser.error(f"--batch {args.batch}: expected a number from 1, or 'free'")
    if args.int8 and args.precision != "float32":
        parser.error("--int8 starts from float32; leave --precision out")
    return args


def export(args: argparse.Namespace, detector: nn.Module, path: Path | None = None) -> Description:
    from etram_mmdet.deploy.export.onnx_file import export_detector

    return export_detector(
        detector,
        path or args.out,
        sensor_px=args.sensor and tuple(args.sensor),
        opset=args.opset,
        precision=args.precision,
        batch=None if args.batch == "free" else int(args.batch),
        checkpoint=args.checkpoint,
    )


def export_in_8_bits(args: argparse.Namespace, detector: nn.Module) -> Description:
    """The float32 graph lies elsewhere, so that an earlier file stays if calibration fails."""
    from etram_mmdet.deploy.export.int8 import quantize

    with TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        export(args, detector, whole)
        return quantize(whole, args.int8, args.out)


def main() -> None:
    args = parse_args()
    from etram_mmdet.deploy.description import check_sidecar_free
    from etram_mmdet.engine.checkpoints.opening import init_detector
    from etram_mmdet.utils.files import check_writable

    with exit_on_input_error():
        check_writable(args.out)
        check_sidecar_free(args.out)
        if args.int8:
            from etram_mmdet.deploy.export.int8 import check_recordings

            check_recordings(args.int8)
        paths = [args.checkpoint] if args.config is None else [args.config, args.checkpoint]
        detector = init_detector(*paths, device="cpu", cfg_options=args.cfg_options)
        description = export_in_8_bits(args, detector) if args.int8 else export(args, detector)
    print(
        f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, opset {description.opset}, "
        f"{description.precision}"
    )
    print(description.summary())
    print(f"Next: python tools/detect.py {args.out} RECORDING --out {args.out.with_suffix('.csv')}")


if __name__ == "__main__":
    main()
