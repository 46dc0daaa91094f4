"""Measure checkpoints on labelled recordings of your own: python tools/measure_recordings.py RAW CHECKPOINT ...

RAW is a folder with test/NAME_td.h5 and test/NAME_bbox.npy (docs/data.md). Every labelled time becomes a frame, on the
sensor's own pixels unless --downsample says otherwise. The table has AP50 and AP of the classes that the labels hold,
a row per checkpoint, with mean and range. Pictures and all other numbers of the tests lie in --out.
Other options, such as --class-set, --sensor or --label-fps, go to tools/preprocess.py.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

SPLIT = "test"
EVERY = 5  # of the labelled frames is drawn


def parse_args() -> tuple[argparse.Namespace, list[str]]:
    """What this tool takes itself, and what it hands on to tools/preprocess.py."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "raw", type=Path, metavar="RAW", help=f"folder with {SPLIT}/ recordings and labels"
    )
    parser.add_argument(
        "checkpoints", nargs="+", metavar="CHECKPOINT", help="or the work folder of a training"
    )
    parser.add_argument("--out", type=Path, help="default: work_dirs/measured/NAME_OF_RAW")
    parser.add_argument(
        "--downsample", default="none", help="as in tools/preprocess.py; default: none"
    )
    return parser.parse_known_args()


def run(tool: str, *arguments: object) -> None:
    """Say which command a step is, run it, and stop if it fails."""
    words = [str(word) for word in arguments]
    print(f"\n== python tools/{tool} {' '.join(words)}", flush=True)
    if subprocess.run([sys.executable, Path(__file__).with_name(tool), *words]).returncode:
        raise InputError(f"tools/{tool} failed; its message stands above")


def measure(checkpoint: str, folder: Path, frames: Path, downsample: str) -> dict[str, str]:
    """Test one checkpoint; returns its row of results.csv without empty cells."""
    options = {
        "data_root": f"{frames}/",
        "test_dataloader.dataset.split": SPLIT,
        "representation.downsample": downsample,
    }
    words = [f"{key}={value}" for key, value in options.items()]
    pictures = ["--show-dir", folder / "pictures", "--show-every", EVERY]
    run("test.py", checkpoint, "--work-dir", folder, *pictures, "--cfg-options", *words)
    with open(folder / "results.csv", newline="") as file:
        return {key: value for key, value in list(csv.DictReader(file))[-1].items() if value}


def table(rows: list[dict[str, str]], checkpoints: list[str]) -> str:
    """Markdown: AP50 and AP of the mean over classes and of every class, in percent, with mean and range at the end."""
    common = set.intersection(*map(set, rows))
    names = [
        key.removeprefix("coco/AP50")
        for key in rows[0]
        if key.startswith("coco/AP50_") and key in common
    ]
    columns = [
        "coco/AP50",
        "coco/AP",
        *(f"coco/{kind}{name}" for name in names for kind in ("AP50", "AP")),
    ]
    numbers = [[100 * float(row[column]) for column in columns] for row in rows]
    head = [
        "checkpoint",
        *(column.removeprefix("coco/").replace("_", " ", 1) for column in columns),
    ]
    lines = [head, ["---"] * len(head)]
    lines += [
        [name, *(f"{v:.1f}" for v in row)] for name, row in zip(checkpoints, numbers, strict=True)
    ]
    if len(rows) > 1:
        spread = [
            f"{sum(v) / len(v):.1f} ({min(v):.1f} to {max(v):.1f})"
            for v in zip(*numbers, strict=True)
        ]
        lines.append(["mean (range)", *spread])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    args, more = parse_args()
    out = args.out or Path("work_dirs/measured", args.raw.resolve().name)
    frames = out / "frames"
    with exit_on_input_error():
        if not (args.raw / SPLIT).is_dir():
            raise InputError(
                f"{args.raw}: has no folder {SPLIT} with recordings and labels; see docs/data.md"
            )
        run(
            "preprocess.py",
            args.raw,
            frames,
            "--frames",
            "all",
            "--downsample",
            args.downsample,
            *more,
        )
        folders = [out / f"checkpoint_{number}" for number in range(1, len(args.checkpoints) + 1)]
        pairs = zip(args.checkpoints, folders, strict=True)
        rows = [
            measure(checkpoint, folder, frames, args.downsample) for checkpoint, folder in pairs
        ]
        text = table(rows, args.checkpoints)
        with atomic_write(out / "table.md") as aside:
            aside.write_text(text)
    shown = f"{rows[0]['coco/frames']} frames, {rows[0]['coco/boxes']} boxes"
    print(f"\n{shown}, in percent:\n\n{text}\n{out}/table.md, {out}/checkpoint_*/pictures")


if __name__ == "__main__":
    main()
