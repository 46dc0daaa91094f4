"""Index page of a work folder: what each of its files holds."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from etram_mmdet.utils.files import atomic_write

INDEX_FILE = "index.html"
# Patterns of file names, in the order of the page. A file gets the text of the first that fits.
_FILES = {
    "results.png": "losses and AP over the steps of the training",
    "results.csv": "all numbers of all evaluations, unrounded",
    "tested_*.png": "a test: precision and recall, confusion matrix, box sizes",
    "tested_*.json": "numbers of a test: AP by size, light and recording",
    "tested_*.mp4": "a film of a tested recording: ground truth and detections",
    "val.png": "twelve validation frames with ground truth and detections",
    "operating_points.png": "thresholds per class, and what they gain",
    "operating_points.py": "tuned thresholds, for tools/detect.py --operating-points",
    "film*.mp4": "a film of detections",
    "*_[0-9]*.png": "a validation at this step: precision and recall, confusion matrix, box sizes",
    "*_[0-9]*.json": "numbers of a validation: AP by size, light and recording",
    "*_[0-9]*.mp4": "a film of a validated recording: ground truth and detections",
    "best_*.pth": "checkpoint with the best validation",
    "iter_*.pth": "checkpoint after this step",
    "last_checkpoint": "path of the newest checkpoint",
    "predictions*.json": "detections and ground truth of every evaluated frame",
    "run.json": "what the numbers depend on: data, seed, schedule, machine",
    "*.py": "complete config of the training",
}
_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "td{padding:.2em 1em .2em 0}img{max-width:100%}"
)


def write_index(folder: Path) -> None:
    """Write ``index.html`` into a work folder: what its files hold, and its two newest pictures.

    Args:
        folder: the work folder. Files that a run does not write are left out of the page.

    Raises:
        InputError: the page cannot be written.
    """
    described = list(_described_files(folder))
    rows = "\n".join(f"<tr><td>{_link(path)}</td><td>{what}</td></tr>" for path, what in described)
    pictures = [path for path, _ in described if path.suffix == ".png"]
    newest = sorted(pictures, key=lambda path: path.stat().st_mtime_ns, reverse=True)[:2]
    shown = "\n".join(
        f'<p>{_link(path)}</p><img src="{quote(path.name)}" alt="">' for path in newest
    )
    title = html.escape(folder.resolve().name)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n<table>\n{rows}\n</table>\n{shown}\n</html>\n"
    )
    with atomic_write(folder / INDEX_FILE) as aside:
        aside.write_text(page)


def _described_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that fit a pattern, each with its description."""
    named = set()
    for pattern, what in _FILES.items():
        for path in sorted(folder.glob(pattern)):
            if path not in named and not path.name.startswith("."):
                named.add(path)
                yield path, what


def _link(path: Path) -> str:
    return f'<a href="{quote(path.name)}">{html.escape(path.name)}</a>'
