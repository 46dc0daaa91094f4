"""Compare the speed of exported graphs with that of their checkpoint on this machine.

Example: python tools/benchmark_engines.py work_dirs/demo/iter_850.pth demo.onnx demo_int8.onnx

Reads a checkpoint and graphs that tools/export.py made of it. PyTorch and every graph detect in
the same made-up frames in turns, so the ratios hold on a busy machine. Post-processing is
included. Prints one row per engine: milliseconds of a window, the ratio to PyTorch in float32, and
the start of a new process. It takes about a minute for the demo.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from etram_mmdet.utils.cli import add_json, check_positive, exit_on_input_error, make_parser
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import check_not_read, write_json


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("checkpoint", help="checkpoint, config (random weights), or the word demo")
    parser.add_argument("graphs", nargs="+", type=Path, help="files of tools/export.py")
    parser.add_argument(
        "--windows", type=int, default=30, help="number of windows to time (default: %(default)s)"
    )
    parser.add_argument(
        "--streams",
        type=int,
        nargs="+",
        default=[1],
        help="numbers of streams in one call, for graphs of --batch free (default: 1)",
    )
    parser.add_argument(
        "--fuse", action="store_true", help="also time PyTorch with merged normalization layers"
    )
    parser.add_argument(
        "--compile", action="store_true", help="also time PyTorch with torch.compile"
    )
    parser.add_argument(
        "--score-thr",
        type=float,
        default=0.3,
        help="drop boxes with a lower score before NMS, in all engines; random weights leave many "
        "boxes above a low one (default: %(default)s)",
    )
    parser.add_argument(
        "--rvt",
        type=Path,
        metavar="RVT",
        help="also time RVT's code with the same weights, without NMS: a folder of RVT's code, "
        "which will be executed (see tools/benchmark_reference.py)",
    )
    parser.add_argument("--no-start", action="store_true", help="do not time new processes")
    add_json(parser)
    args = parser.parse_args()
    check_positive(parser, args, "--windows")
    if min(args.streams) < 1:
        parser.error(f"--streams {min(args.streams)}: expected numbers from 1")
    if not 0 <= args.score_thr <= 1:
        parser.error(f"--score-thr {args.score_thr}: expected a number from 0 to 1")
    return args


def installed_backends() -> list[str]:
    backends = [name for name, module in _MODULES.items() if is_installed(module)]
    if not backends:
        raise InputError(
            "no program that runs exported graphs is installed; pip install onnxruntime"
        )
    return backends


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # somebody hides it
        return False


def main() -> None:
    args = parse_args()
    import torch

    from etram_mmdet.analysis.speed.engines import (
        BASELINE,
        cold_starts,
        compare,
        graph_engines,
        sparse_frames,
    )
    from etram_mmdet.apis.inference import TorchEngine
    from etram_mmdet.deploy.description import sidecar_of
    from etram_mmdet.engine.checkpoints.opening import init_detector
    from etram_mmdet.utils.environment import machine
    from etram_mmdet.utils.text import table

    with exit_on_input_error():
        if args.json:
            check_not_read(args.json, [*args.graphs, *map(sidecar_of, args.graphs)])
        detector = init_detector(args.checkpoint, device="cpu")
        detector.bbox_head.test_cfg.score_thr = args.score_thr
        backends = installed_backends()
        graphs = graph_engines(args.graphs, backends, args.score_thr)
        engines = {BASELINE: TorchEngine(detector)}
        if args.fuse:
            engines["torch fused"] = TorchEngine(detector, fuse=True)
        if args.compile:
            engines["torch compiled"] = TorchEngine(detector, fuse=True, compiled=True)
        if args.rvt:
            from etram_mmdet.analysis.speed.reference import Reference, ReferenceEngine

            reference = Reference(args.rvt, detector)
            engines["RVT float32"] = ReferenceEngine(reference, engines[BASELINE])
        engines |= graphs
        shape = next(iter(graphs.values())).description.frame_shape
        dtype = next(iter(graphs.values())).description.frame_dtype
        starts = {} if args.no_start else cold_starts(args.graphs, backends)
        rows = [["streams", "engine", "ms", "ratio", "of best", "streams/s", "start s"]]
        results = []
        for streams in args.streams:
            measured = compare(engines, sparse_frames(shape, dtype, streams), args.windows)
            for name, values in measured.items():
                rate = 1e3 * streams / values["ms"]
                start = f"{starts[name]:.2f}" if name in starts else ""
                cells = [f"{values['ms']:.1f}", f"{values['ratio']:.2f}"]
                cells += [f"{values['ratio_of_best']:.2f}", f"{rate:.1f}", start]
                rows.append([streams, name, *cells])
                results.append(dict(streams=streams, engine=name, **values))
    about = machine(torch.device("cpu"))
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(table(rows, left=(1,)))
    if args.json:
        write_json(args.json, dict(machine=about, results=results, start_s=starts))


_MODULES = {"onnx": "onnxruntime", "openvino": "openvino"}


if __name__ == "__main__":
    main()
