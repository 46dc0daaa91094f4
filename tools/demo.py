"""Simulate traffic, train a small detector on it, test it and draw what it finds.

Example: python tools/demo.py, which `make demo` calls

Writes recordings and frames into --data; checkpoints, results and val.png, a picture of detections,
into --work-dir. Takes 4 to 10 minutes on two CPU cores and 0.2 GB. Stopped, it goes on with the
same command.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

from etram_mmdet.utils.cli import exit_on_input_error, make_parser

CONFIG = "configs/patch2_sizeaware_demo.py"
TOOLS = Path(__file__).parent


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data",
        default="data",
        help="folder in which demo_raw (recordings) and demo (frames) are made "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=Path("work_dirs/demo"),
        help="folder for checkpoints and results (default: %(default)s)",
    )
    parser.add_argument(
        "--recordings",
        nargs=3,
        default=["28", "6", "2"],
        metavar=("TRAIN", "VAL", "TEST"),
        help="number of simulated recordings in each split (default: 28 6 2)",
    )
    parser.add_argument(
        "--seconds",
        default="6",
        help="length of each recording, in seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--release",
        type=Path,
        metavar="FILE.pth",
        help="also write the trained detector in half precision, as the package ships it, and test "
        "that file",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="override keys of the config in training",
    )
    return parser.parse_args()


def run(step: str, tool: str, *arguments: object) -> None:
    """Print the command of a step and run it; exit if it fails."""
    words = [str(word) for word in arguments]
    print(f"\n== {step}: python tools/{tool} {' '.join(words)}", flush=True)
    if subprocess.run([sys.executable, TOOLS / tool, *words]).returncode:
        sys.exit(f"demo: the step '{step}' failed; the same command continues with it")


def train_and_test(args: argparse.Namespace, data: str) -> tuple[Path, Path]:
    """Train and test; returns the paths of the checkpoint and of its predictions."""
    from mmdet.registry import DATASETS

    from etram_mmdet.engine.checkpoints.folder import find_checkpoint
    from etram_mmdet.engine.checkpoints.release import release
    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.visualization.detection_sheet import prediction_sheet
    from etram_mmdet.visualization.index_page import write_index

    options = ["--cfg-options", f"data_root={data}/", *args.cfg_options]
    run("train", "train.py", CONFIG, "--work-dir", args.work_dir, "--resume", "auto", *options)
    checkpoint = Path(find_checkpoint(args.work_dir))
    predictions = args.work_dir / "predictions.json"
    tested = checkpoint
    if args.release:
        print(f"\n{args.release}: SHA-256 {release(checkpoint, args.release)}...")
        tested = args.release
    run("test", "test.py", tested, "--out", predictions, "--work-dir", args.work_dir)
    dataset = DATASETS.build(
        load_config(CONFIG, dict(data_root=f"{data}/")).test_dataloader.dataset
    )
    prediction_sheet(dataset, predictions, args.work_dir / "val.png")
    write_index(args.work_dir)
    return checkpoint, predictions


def main() -> None:
    args = parse_args()
    start = time.time()
    from etram_mmdet.analysis.runs import work_folder

    raw = f"{args.data}/demo_raw"
    data = f"{args.data}/demo"
    work_dir = args.work_dir
    size = ["--width", "192", "--height", "128", "--seconds", args.seconds]
    with exit_on_input_error():
        run("sample", "make_sample.py", raw, *size, "--recordings", *args.recordings)
        run("preprocess", "preprocess.py", raw, data)
        checkpoint, predictions = train_and_test(args, data)
    left = {
        Path(raw): "simulated recordings and their labels",
        Path(data): "the recordings as frames for the network",
    }
    left[work_dir / "val.png"] = "twelve validation frames with ground truth and detections"
    left |= work_folder.training_files(work_dir, checkpoint, Path(CONFIG).name)
    left |= work_folder.tested_files(work_dir, checkpoint, predictions)
    print(f"\n== files:\n{work_folder.listed(left)}")
    with open(work_dir / "results.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    ap50 = float(last["coco/AP50"])
    ap = float(last["coco/AP"])
    counts = f"{last['coco/frames']} frames, {last['coco/boxes']} boxes"
    print(f"\ndemo: AP50 {ap50:.2f} AP {ap:.2f} (val, {counts}) in {time.time() - start:.0f} s")
    python = os.path.relpath(sys.executable)
    recording = next(iter(sorted(Path(raw).glob("val/*_td.h5"))))
    print(
        "\nnext:",
        f"{python} tools/detect.py {checkpoint} {recording} --out film.mp4   # film of detections",
        f"{python} tools/preprocess.py YOUR_RECORDINGS data/my_data   # your data: docs/data.md",
        "make test   # run the tests",
        sep="\n",
    )


if __name__ == "__main__":
    main()
