"""Find the checkpoints of a work folder."""

from __future__ import annotations

import os
from pathlib import Path

from etram_mmdet.utils.errors import InputError

PACKAGED = Path(__file__).parents[2] / "weights"  # detectors that come with the package


def checkpoints_in(work_dir: str | Path) -> list[Path]:
    """Checkpoints of a work folder: the one that ``last_checkpoint`` names, then from new to old.

    Only the last part of the path in ``last_checkpoint`` counts, so that a copied or moved folder
    still works. The others are called ``iter_STEP.pth``. Best checkpoints, which hold weights only,
    and copies with other names are left out.

    Args:
        work_dir: the work folder of a training.
    """
    folder = Path(work_dir)
    numbered = [path for path in folder.glob("iter_*.pth") if _step(path).isdecimal()]
    found = sorted(numbered, key=lambda path: int(_step(path)), reverse=True)
    named = folder / "last_checkpoint"
    if named.is_file():
        name = Path(named.read_text(encoding="utf-8", errors="replace").strip("\0 \n")).name
        found.insert(0, folder / name)
    # isfile also accepts a name that no file can have
    return [path for path in dict.fromkeys(found) if os.path.isfile(path)]


def _step(path: Path) -> str:
    return path.stem.removeprefix("iter_")


def find_checkpoint(work_dir: str | Path) -> str | None:
    """The first of :func:`checkpoints_in`, intact or not; ``None`` if the folder holds none.

    Args:
        work_dir: the work folder of a training.
    """
    return next(map(str, checkpoints_in(work_dir)), None)


def checkpoint_file(path: str | Path) -> Path:
    """The file of a checkpoint that a user names.

    Args:
        path: a file; a work folder, of which the newest checkpoint is used; or the name of a
            checkpoint that comes with the package (``demo``).

    Raises:
        InputError: a folder holds no checkpoint.
    """
    found = find_checkpoint(path) if Path(path).is_dir() else path
    packaged = PACKAGED / f"{Path(path).name}.pth"
    # a file of the user comes first
    if str(path) == Path(path).name and packaged.is_file() and not Path(found or "").is_file():
        return packaged
    if found is None:
        raise InputError(
            f"{path}: holds no checkpoint; name the work folder of a training, or a checkpoint in "
            "it"
        )
    return Path(found)


def work_folder_of(checkpoint: Path) -> str:
    """Folder for results of a checkpoint: its own, or one in ``work_dirs``.

    The latter is for a checkpoint that comes with the package.

    Args:
        checkpoint: the checkpoint's file.
    """
    is_packaged = checkpoint.parent == PACKAGED
    return (
        f"work_dirs/packaged_{checkpoint.stem}" if is_packaged else str(checkpoint.resolve().parent)
    )
