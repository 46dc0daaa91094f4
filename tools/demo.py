"""From nothing to a metric and a picture: sample, preprocess, train, test. `make demo` runs it.

Interrupted, it goes on where it was when it is called again.
"""

from __future__ import annotations

import etram_mmdet.utils.threads  # noqa: F401  before PyTorch is loaded

# isort: split
import argparse
import csv
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdet.registry import DATASETS

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.stream_runner import find_checkpoint
from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.visualization.detection_sheet import prediction_sheet

CONFIG = "configs/patch2_sizeaware_demo.py"
TOOLS = Path(__file__).parent


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="where the sample goes")
    parser.add_argument("--work-dir", default="work_dirs/demo")
    parser.add_argument("--recordings", nargs=3, default=["28", "6", "2"], metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--seconds", default="6", help="length of a recording")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="handed to tools/train.py")
    return parser.parse_args()


@contextmanager
def announced(step: str, tool: str, arguments: tuple[str, ...]) -> Iterator[str]:
    """Say which command a step is, and which step failed; gives the path of the tool."""
    print(f"\n== {step}: python tools/{tool} {' '.join(arguments)}", flush=True)
    try:
        yield str(TOOLS / tool)
    except (SystemExit, subprocess.CalledProcessError) as error:
        if getattr(error, "code", 1):
            sys.exit(f"demo: the step '{step}' failed; the same command goes on from here")


def call(step: str, tool: str, *arguments: str) -> None:
    """Run a tool in this process, which has imported already what the tool needs."""
    with announced(step, tool, arguments) as path:
        sys.argv = [path, *arguments]
        runpy.run_path(path, run_name="__main__")


def run(step: str, tool: str, *arguments: str) -> None:
    """Run a tool in a process of its own: mmengine's runners do not share one."""
    with announced(step, tool, arguments) as path:
        subprocess.run([sys.executable, path, *arguments], check=True)


def train_and_test(data: str, work_dir: Path, options: list[str]) -> None:
    resume = ["--resume"] if find_checkpoint(work_dir) else []
    options = ["--cfg-options", f"data_root={data}/", *options]
    run("train", "train.py", CONFIG, "--work-dir", str(work_dir), *resume, *options)
    run("test", "test.py", str(find_checkpoint(work_dir)), "--out", f"{work_dir}/predictions.json")
    cfg = load_config(CONFIG, dict(data_root=f"{data}/"))
    prediction_sheet(DATASETS.build(cfg.test_dataloader.dataset), work_dir / "predictions.json", work_dir / "val.png")


def files_left(raw: str, data: str, work_dir: Path) -> list[tuple[Path, str]]:
    """Every file and folder that the demo leaves, and what it is."""
    checkpoint = Path(find_checkpoint(work_dir))
    step = checkpoint.stem.removeprefix("iter_")
    older = [path for path in work_dir.glob("iter_*.pth") if path != checkpoint]
    return [
        (Path(raw), "the simulated recordings and their labels"),
        (Path(data), "the same as frames for the network"),
        (checkpoint, f"the trained detector, with its config: weights of step {step}"),
        *((path, "the detector of an earlier step") for path in older),
        (work_dir / "last_checkpoint", "where the newest detector is"),
        (work_dir / "val.png", "twelve validation frames with truth and detections"),
        (work_dir / "results.png", "the losses of the training, step by step"),
        (work_dir / "results.csv", "every number of the evaluation"),
        (work_dir / f"tested_val_{step}.png", "precision and recall, confusions, sizes"),
        (work_dir / f"tested_val_{step}.json", "AP by size, light and recording"),
        (work_dir / f"tested_val_{step}.mp4", "a film of a validation recording with truth and detections"),
        (work_dir / "predictions.json", "all detections and boxes of the validation recordings"),
        (work_dir / "run.json", "what the numbers depend on: data, seed, schedule, machine"),
        (work_dir / Path(CONFIG).name, "the complete config of the training"),
        *((path, "logs of a run") for path in sorted(work_dir.glob("[0-9]*_[0-9]*")) if path.is_dir()),
    ]


def main() -> None:
    args, start = parse_args(), time.time()
    raw, data, work_dir = f"{args.data}/demo_raw", f"{args.data}/demo", Path(args.work_dir)
    size = ["--width", "192", "--height", "128", "--seconds", args.seconds]
    call("sample", "make_sample.py", raw, *size, "--recordings", *args.recordings)
    call("preprocess", "preprocess.py", raw, data)
    with exit_on_input_error():
        train_and_test(data, work_dir, args.cfg_options)
    with open(work_dir / "results.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    left = files_left(raw, data, work_dir)
    width = max(len(str(path)) for path, _ in left)
    print("\n== left:", *(f"{path!s:{width}}  {what}" for path, what in left), sep="\n")
    ap50, ap = (f"{float(last[key]):.2f}" for key in ("coco/AP50", "coco/AP"))
    counts = f"{last['coco/frames']} frames, {last['coco/boxes']} boxes"
    print(f"\ndemo: AP50 {ap50} AP {ap} (val, {counts}) in {time.time() - start:.0f} s")
    python = os.path.relpath(sys.executable)
    recording = next(iter(sorted(Path(raw).glob("val/*_td.h5"))))
    print(
        "\nnext:",
        f"{python} tools/detect.py {find_checkpoint(work_dir)} {recording} --out film.mp4   # a film of its detections",
        f"{python} tools/preprocess.py YOUR_RECORDINGS data/my_data   # your own data: docs/data.md says which",
        "make test   # the tests",
        sep="\n",
    )


if __name__ == "__main__":
    main()
