"""Convert a checkpoint of RVT, or of eTraM's fork of RVT, to a checkpoint of this package.

Example: python tools/convert_rvt.py rvt-t.ckpt rvt-t.pth --config configs/baseline_tiny.py

Reads the tensors of IN, which may be a Lightning checkpoint; other pickled objects in it are not
executed.
Writes OUT with the weights and the config, so that tools/test.py OUT.pth needs no config.
"""

from __future__ import annotations

import argparse

from etram_mmdet.utils.cli import add_cfg_options, exit_on_input_error, make_parser


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("source", metavar="IN.ckpt", help="checkpoint of RVT")
    parser.add_argument("target", metavar="OUT.pth", help="checkpoint to write")
    parser.add_argument(
        "--config",
        required=True,
        help="config of a model with the same size, patch size and number of classes",
    )
    parser.add_argument(
        "--step-ms",
        type=float,
        default=50,
        help="milliseconds between two windows in the training of IN; Gen1: 125 "
        "(default: %(default)s)",
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if not 0.001 <= args.step_ms <= 1e6:
        parser.error(f"--step-ms {args.step_ms}: expected 0.001 to 1,000,000")
    return args


def main() -> None:
    args = parse_args()
    from etram_mmdet.datasets.shared_keys import dataset_config, metainfo_of
    from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY, STEP_KEY
    from etram_mmdet.engine.checkpoints.files import (
        config_to_json,
        load_foreign_weights,
        save_atomically,
    )
    from etram_mmdet.engine.checkpoints.rvt_weights import from_rvt
    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.engine.runner.divergence import check_finite
    from etram_mmdet.models.building import build_detector

    with exit_on_input_error():
        cfg = load_config(args.config, args.cfg_options)
        weights = from_rvt(load_foreign_weights(args.source), build_detector(cfg))
        check_finite(weights, args.source)
        classes = metainfo_of(dataset_config(cfg))
        meta = {
            CONFIG_KEY: config_to_json(cfg),
            "dataset_meta": classes,
            STEP_KEY: round(args.step_ms * 1000),
        }
        save_atomically(dict(meta=meta, state_dict=weights), args.target)
        print(f"{args.target}: {len(weights)} tensors of {args.source}")


if __name__ == "__main__":
    main()
