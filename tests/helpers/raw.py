"""Small recordings in eTraM's on-disk form for tests."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from etram_mmdet.events.labels import BBOX_DTYPE

WIDTH, HEIGHT = 64, 48


def make_events(
    num: int = 4000, span_us: int = 400_000, start_us: int = 0, seed: int = 0
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return dict(
        t=np.sort(rng.integers(0, span_us, num)) + start_us,
        x=rng.integers(0, WIDTH, num).astype(np.uint16),
        y=rng.integers(0, HEIGHT, num).astype(np.uint16),
        p=rng.integers(0, 2, num).astype(np.int16),
    )


def make_boxes(times_us, **fields) -> np.ndarray:
    boxes = np.zeros(len(times_us), BBOX_DTYPE)
    for name, value in (
        dict(t=times_us, x=10, y=12, w=20, h=16, class_confidence=1) | fields
    ).items():
        boxes[name] = value
    return boxes


def write_events(
    path: Path, events: dict[str, np.ndarray], with_size: bool = True, **options
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name, column in events.items():
            group.create_dataset(name, data=column, **options)
        if with_size:
            group["width"], group["height"] = WIDTH, HEIGHT
    return path


def write_recording(folder: Path, name: str, events=None, boxes=None, **options) -> Path:
    """Write ``folder/NAME_td.h5`` and ``NAME_bbox.npy``: by default 0.4 s with boxes at 10 Hz."""
    write_events(folder / f"{name}_td.h5", make_events() if events is None else events, **options)
    np.save(
        folder / f"{name}_bbox.npy",
        make_boxes([100_000, 200_000, 300_000]) if boxes is None else boxes,
    )
    return folder / f"{name}_td.h5"
