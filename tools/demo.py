"""From nothing to a metric and a picture: sample, preprocess, train, test. `make demo` runs it."""

from __future__ import annotations

import argparse
import csv
import runpy
import subprocess
import sys
import time
from pathlib import Path

from mmdet.registry import DATASETS

from etram_mmdet.engine.config import load_config
from etram_mmdet.engine.runner import latest_checkpoint
from etram_mmdet.visualization.prediction_sheet import prediction_sheet

CONFIG = "configs/patch2_sizeaware_demo.py"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data", help="where the sample goes")
    parser.add_argument("--work-dir", default="work_dirs/demo")
    parser.add_argument("--recordings", nargs=3, default=["28", "6", "2"], metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--seconds", default="6", help="length of a recording")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="handed to tools/train.py")
    return parser.parse_args()


def call(step: str, tool: str, *arguments: str) -> None:
    """Run a tool in this process, which has imported already what the tool needs."""
    print(f"\n== {step}: python {' '.join([tool, *arguments])}", flush=True)
    sys.argv = [tool, *arguments]
    try:
        runpy.run_path(tool, run_name="__main__")
    except SystemExit as end:
        if end.code:
            sys.exit(f"demo: the step '{step}' failed")


def run(step: str, *command: str) -> None:
    """Run a tool in a process of its own: mmengine's runners do not share one."""
    print(f"\n== {step}: python {' '.join(command)}", flush=True)
    if subprocess.run([sys.executable, *command]).returncode:
        sys.exit(f"demo: the step '{step}' failed")


def main() -> None:
    args, start = parse_args(), time.time()
    raw, data, work_dir = f"{args.data}/demo_raw", f"{args.data}/demo", args.work_dir
    size = ["--width", "192", "--height", "128", "--seconds", args.seconds]
    call("sample", "tools/make_sample.py", raw, *size, "--recordings", *args.recordings)
    call("preprocess", "tools/preprocess.py", raw, data)
    options = ["--cfg-options", f"data_root={data}/", *args.cfg_options]
    run("train", "tools/train.py", CONFIG, "--work-dir", work_dir, *options)
    checkpoint = latest_checkpoint(work_dir)
    run("test", "tools/test.py", checkpoint, "--out", f"{work_dir}/predictions.json")
    cfg = load_config(CONFIG, dict(data_root=f"{data}/"))
    prediction_sheet(DATASETS.build(cfg.test_dataloader.dataset), f"{work_dir}/predictions.json", f"{work_dir}/val.png")
    with open(Path(work_dir) / "results.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    print(f"\npicture: {work_dir}/val.png")
    ap50, ap = (f"{float(last[key]):.2f}" for key in ("coco/AP50", "coco/AP"))
    counts = f"{last['coco/frames']} frames, {last['coco/boxes']} boxes"
    print(f"demo: AP50 {ap50} AP {ap} (val, {counts}) in {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
