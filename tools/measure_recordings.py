"""Measure the AP of checkpoints on your own labelled recordings.

Example: python tools/measure_recordings.py FOLDER work_dirs/demo work_dirs/demo_seed3

Reads a folder with test/NAME_td.h5 and test/NAME_bbox.npy; docs/data.md lists other formats. Every
labelled time becomes a frame, at the sensor's full size unless --downsample is given.
Writes table.md (also printed), frames, pictures and all other results of the tests into --out. The
table has one row per checkpoint, with AP50 and AP of the classes in the labels, and a last row with
mean and range.
Other options, such as --class-set, --sensor or --label-fps, are passed to tools/preprocess.py.
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
EVERY = 5  # every fifth labelled frame is drawn


def parse_args() -> tuple[argparse.Namespace, list[str]]:
    """Parsed options of this tool, and the remaining words, which are for tools/preprocess.py."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "raw",
        type=Path,
        metavar="RAW",
        help=f"folder that holds recordings and labels in {SPLIT}/",
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="checkpoint files or work folders of trainings (their newest checkpoints)",
    )
    parser.add_argument(
        "--out", type=Path, help="folder to write (default: work_dirs/measured/NAME_OF_RAW)"
    )
    parser.add_argument(
        "--downsample",
        default="none",
        help="how frames become smaller than the sensor, as in tools/preprocess.py "
        "(default: %(default)s)",
    )
    return parser.parse_known_args()


def run(tool: str, *arguments: object) -> None:
    """Print the command of a step and run it.

    Raises:
        InputError: when it fails.
    """
    words = [str(word) for word in arguments]
    print(f"\n== python tools/{tool} {' '.join(words)}", flush=True)
    if subprocess.run([sys.executable, Path(__file__).with_name(tool), *words]).returncode:
        raise InputError(f"tools/{tool} failed; see its message above")


def measure(checkpoint: str, folder: Path, frames: Path, downsample: str) -> dict[str, str]:
    """Test one checkpoint; returns its row of results.csv, without empty cells."""
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
    """Markdown table of AP50 and AP in percent, over all classes and of each class.

    There is one row per checkpoint; of several, a last row holds mean and range.
    """
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
                f"{args.raw}: expected a folder {SPLIT} with recordings and labels, but there is "
                "none; see docs/data.md"
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
