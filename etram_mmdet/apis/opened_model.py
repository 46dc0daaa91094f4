"""Open the model that a command line names: a checkpoint, or a file of tools/export.py."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from etram_mmdet.deploy.inferencer import Inferencer


def opened_model(args: argparse.Namespace, step_us: int | None) -> Inferencer:
    """The inferencer of an exported graph, which needs no PyTorch, or of a checkpoint.

    Args:
        args: command line with ``config``, ``checkpoint``, ``score_thr``, ``operating_points``,
            ``backend`` and the options of :func:`add_device`, :func:`add_streaming` and
            :func:`add_cfg_options`.
        step_us: microseconds from window to window. Default: as in training.

    Raises:
        InputError: the model does not fit, or an option does not go with an exported one.
    """
    from etram_mmdet.deploy.engines import is_exported, refuse_torch_options

    chosen = args.score_thr, args.operating_points, step_us
    if is_exported(args.checkpoint):
        from etram_mmdet.deploy.runtime import EventInferencer

        refuse_torch_options(args.checkpoint, _torch_options(args))
        return EventInferencer(args.checkpoint, *chosen, backend=args.backend or "onnx")
    from etram_mmdet.apis import EventInferencer, init_detector

    paths = [args.checkpoint] if args.config is None else [args.config, args.checkpoint]
    model = init_detector(*paths, device=args.device, cfg_options=args.cfg_options)
    fast = dict(
        precision=args.precision,
        fuse=args.fuse,
        compiled=args.compile,
        cuda_graphs=args.cuda_graphs,
    )
    return EventInferencer(model, None, *chosen, **fast, backend=args.backend)


def inputs_of(args: argparse.Namespace) -> list[Path | None]:
    """Files of a command line that must not be written: recording, model and thresholds.

    The description beside an exported detector is one of them.

    Args:
        args: command line with ``recording``, ``checkpoint``, ``config`` and ``operating_points``.
    """
    from etram_mmdet.deploy.description import sidecar_of
    from etram_mmdet.deploy.engines import is_exported

    beside = sidecar_of(args.checkpoint) if is_exported(args.checkpoint) else None
    return [args.recording, args.checkpoint, beside, args.config, args.operating_points]


def _torch_options(args: argparse.Namespace) -> dict[str, object]:
    return {
        "CONFIG": args.config,
        "--device": args.device not in (None, "cpu"),
        "--precision": args.precision != "float32",
        "--fuse": args.fuse,
        "--compile": args.compile,
        "--cuda-graphs": args.cuda_graphs,
        "--cfg-options": args.cfg_options,
        "--backend torch": args.backend == "torch",
    }
