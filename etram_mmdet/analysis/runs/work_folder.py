"""Lists the files in a run's folder and says what each is."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.utils.text import table


def training_files(work_dir: Path, checkpoint: Path, config: str) -> dict[Path, str]:
    """Returns the files that tools/train.py writes, each with a description.

    Args:
        work_dir: work folder of the training.
        checkpoint: newest checkpoint.
        config: file name of the config.
    """
    step = checkpoint.stem.removeprefix("iter_")
    older = [path for path in sorted(work_dir.glob("iter_*.pth")) if path != checkpoint]
    logs = [path for path in sorted(work_dir.glob("[0-9]*_[0-9]*")) if path.is_dir()]
    return {
        checkpoint: f"the trained detector of step {step}, with its config",
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
    """Returns the files that tools/test.py writes for the validation split, with descriptions.

    Args:
        work_dir: work folder of the training.
        checkpoint: the tested checkpoint.
        predictions: file with the predictions.
    """
    step = checkpoint.stem.removeprefix("iter_")
    tested = work_dir / f"tested_val_{step}"
    return {
        tested.with_suffix(".png"): "precision and recall, confusions, sizes",
        tested.with_suffix(".json"): "AP by size, light and recording",
        tested.with_suffix(
            ".mp4"
        ): "a film of a validation recording with true boxes and detections",
        predictions: "all detections and true boxes of the validation recordings",
    }


def listed(files: dict[Path, str]) -> str:
    """Formats files and descriptions in two columns, one file on each line.

    Args:
        files: description by path.
    """
    return table(files.items(), left=(0, 1))
