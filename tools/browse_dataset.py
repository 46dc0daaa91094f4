"""Draw training batches as the network gets them: augmented and padded.

Example: python tools/browse_dataset.py configs/patch2_sizeaware.py --out browse.mp4

Reads the data of a config; needs no GPU and no weights.
Writes a PNG with one row per lane of the batch, or an MP4 with one frame per time step that shows
all lanes. A lane is one of the clips or streams that make up a batch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options, add_config
from etram_mmdet.utils.errors import InputError

BATCHES = {".png": 2, ".mp4": 20}


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_config(parser)
    parser.add_argument(
        "--split",
        choices=["train", "val", "test"],
        default="train",
        help="which data set of the config to draw (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.png|FILE.mp4",
        help="picture or film to write (default: work_dirs/CONFIG_NAME/browse_SPLIT.png)",
    )
    parser.add_argument(
        "--batches",
        type=int,
        metavar="N",
        help="number of batches to draw (default: 2 in a PNG, 20 in an MP4)",
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    args.out = args.out or Path("work_dirs", Path(args.config).stem, f"browse_{args.split}.png")
    return args


def check(args: argparse.Namespace) -> None:
    if args.out.suffix not in BATCHES:
        raise InputError(f"--out {args.out}: expected a name that ends in {' or '.join(BATCHES)}")
    if args.batches is None:
        args.batches = BATCHES[args.out.suffix]
    if args.batches < 1:
        raise InputError(f"--batches {args.batches}: expected at least 1")


def main() -> None:
    args = parse_args()
    from etram_mmdet.analysis.dataset.browse import build_loader, seen_batches
    from etram_mmdet.datasets.wrappers import as_streams
    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.visualization.canvas import write_png
    from etram_mmdet.visualization.clip_sheet import clip_film, clip_sheet
    from etram_mmdet.visualization.video import write_mp4

    with exit_on_input_error():
        check(args)
        cfg = load_config(args.config, args.cfg_options)
        loader = build_loader(cfg, args.split)
        batches = seen_batches(cfg, loader, args.batches)
        metainfo = as_streams(loader.dataset).metainfo
        if args.out.suffix == ".png":
            write_png(clip_sheet(batches, metainfo["classes"], metainfo["palette"]), args.out)
            print(args.out)
        else:
            codec = write_mp4(
                clip_film(batches, metainfo["classes"], metainfo["palette"]), args.out
            )
            print(f"{args.out} ({codec})")


if __name__ == "__main__":
    main()
