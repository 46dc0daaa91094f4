"""What a run leaves in its folder: every file, and what it is."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.utils.text import table


def training_files(work_dir: Path, checkpoint: Path, config: str) -> dict[Path, str]:
    """What tools/train.py leaves: ``checkpoint`` is the newest one, ``config`` the name of the config file."""
    step = checkpoint.stem.removeprefix("iter_")
    older = [path for path in sorted(work_dir.glob("iter_*.pth")) if path != checkpoint]
    logs = [path for path in sorted(work_dir.glob("[0-9]*_[0-9]*")) if path.is_dir()]
    return {
        checkpoint: f"the trained detector, with its config: weights of step {step}",
        **dict.fromkeys(older, "the detector of an earlier step"),
        work_dir / "index.html": "this list as a page, with the newest pictures",
        work_dir / "last_checkpoint": "where the newest detector is",
        work_dir / "results.png": "the losses of the training, step by step",
        work_dir / "results.csv": "every number of the evaluation",
        work_dir / "run.json": "what the numbers depend on: data, seed, schedule, machine",
        work_dir / config: "the complete config of the training",
        **dict.fromkeys(logs, "logs of a run"),
    }


def tested_files(work_dir: Path, checkpoint: Path, predictions: Path) -> dict[Path, str]:
    """What tools/test.py leaves in the same folder, for the validation split."""
    step = checkpoint.stem.removeprefix("iter_")
    tested = work_dir / f"tested_val_{step}"
    return {
        tested.with_suffix(".png"): "precision and recall, confusions, sizes",
        tested.with_suffix(".json"): "AP by size, light and recording",
        tested.with_suffix(".mp4"): "a film of a validation recording with truth and detections",
        predictions: "all detections and boxes of the validation recordings",
    }


def listed(files: dict[Path, str]) -> str:
    """A line per file, in two columns."""
    return table(files.items(), left=(0, 1))
