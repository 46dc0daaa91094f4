"""Convert a checkpoint of RVT, or of eTraM's fork of RVT, to a checkpoint of this package.

Example: python tools/convert_rvt.py rvt-t.ckpt rvt-t.pth --config configs/baseline_tiny.py

Reads the tensors of IN, which may be a Lightning checkpoint; other pickled objects in it are not
executed.
Writes OUT with the weights and the config, so that tools/test.py OUT.pth needs no config.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    parser.add_argument(
        "--sensor",
        nargs=2,
        type=int,
        metavar=("WIDTH", "HEIGHT"),
        help="size of the sensor in pixels in the training of IN (default: sensor_px of the "
        "config, else that of the data set whose class set the config names: gen1, 1mpx, etram3 or "
        "etram8)",
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.sensor and min(args.sensor) < 1:
        parser.error(f"--sensor {' '.join(map(str, args.sensor))}: expected pixels above 0")
    if not 0.001 <= args.step_ms <= 1e6:
        parser.error(f"--step-ms {args.step_ms}: expected 0.001 to 1,000,000")
    return args


def sensor_of(args: argparse.Namespace, data: Mapping) -> tuple[int, int] | None:
    """Width and height of the sensor in the training of IN; None if they are not known."""
    from etram_mmdet.events.formats.sensors import GEN4_PX
    from etram_mmdet.events.preprocessing.presets import PRESETS

    of_class_set = dict.fromkeys(("1mpx", "etram3", "etram8"), GEN4_PX)
    of_class_set["gen1"] = PRESETS["gen1"].sensor_px
    class_set = data.get("class_set")
    known = of_class_set.get(class_set) if isinstance(class_set, str) else None
    found = args.sensor or data.get("sensor_px") or known
    return tuple(found) if found else None


def main() -> None:
    args = parse_args()
    from etram_mmdet.datasets.shared_keys import dataset_config, metainfo_of
    from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY, SENSOR_KEY, STEP_KEY
    from etram_mmdet.engine.checkpoints.files import (
        config_to_json,
        load_foreign_weights,
        save_atomically,
    )
    from etram_mmdet.engine.checkpoints.rvt_weights import from_rvt
    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.engine.runner.divergence import check_finite
    from etram_mmdet.models.building import build_detector
    from etram_mmdet.utils.files import check_not_read

    with exit_on_input_error():
        check_not_read(Path(args.target), [Path(args.source)])
        cfg = load_config(args.config, args.cfg_options)
        weights = from_rvt(load_foreign_weights(args.source), build_detector(cfg))
        check_finite(weights, args.source)
        data = dataset_config(cfg)
        sensor_px = sensor_of(args, data)
        meta = {
            CONFIG_KEY: config_to_json(cfg),
            "dataset_meta": metainfo_of(data),
            STEP_KEY: round(args.step_ms * 1000),
        }
        meta |= {SENSOR_KEY: list(sensor_px)} if sensor_px else {}
        save_atomically(dict(meta=meta, state_dict=weights), args.target)
        size = f"{sensor_px[0]}x{sensor_px[1]} pixels" if sensor_px else "of unknown size"
        print(
            f"{args.target}: {len(weights)} tensors of {args.source}; trained with windows every "
            f"{args.step_ms:g} ms and a sensor {size} (--step-ms, --sensor)"
        )


if __name__ == "__main__":
    main()
