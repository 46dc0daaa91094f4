"""Changes to sequence folders as other people's programs and older versions make them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from etram_mmdet.events.preprocessing.checksums import KEY
from etram_mmdet.events.preprocessing.frame_store import CHECKSUMS


def frames_in(folder: Path) -> Path:
    return next(folder.rglob("*.h5"))


def forget_checksums(folder: Path) -> None:
    """As versions before checksums wrote it."""
    with h5py.File(frames_in(folder), "r+") as file:
        del file[CHECKSUMS]
    path = folder / "sequence.json"
    manifest = json.loads(path.read_text())
    del manifest[KEY]
    path.write_text(json.dumps(manifest, indent=2))
