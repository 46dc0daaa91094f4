"""An ``img_path`` for every event frame, so that parts of mmdet open frames as they open images.

There is no file at such a path. The data set of this process that holds the frame provides it, and
``EventFrameBackend`` draws it. mmengine's and mmcv's readers call that backend for ``events://``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

from etram_mmdet.events.preprocessing.sequence_folder import representation_path
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset

SCHEME = "events"
_PADDING = "padding"
_datasets: WeakValueDictionary[str, ETraMDataset] = WeakValueDictionary()


def register_frames(dataset: ETraMDataset) -> str:
    """Let the frames of a data set be found by path, and return the folder of its paths.

    Data sets of one split, representation and window share a folder, since their frames are equal.

    Args:
        dataset: data set whose frames are registered; it is not kept alive.
    """
    representation = build_representation(dataset.representation, 2, 2)
    kind = representation_path(representation, dataset.window_us).with_suffix("")
    folder = f"{SCHEME}://{Path(dataset.folder).resolve() / kind.relative_to(kind.parts[0])}"
    _datasets[folder] = dataset
    return folder


def frame_path(folder: str, recording: str, t_us: int) -> str:
    """The path of one frame.

    Args:
        folder: result of :func:`register_frames`.
        recording: name of the recording.
        t_us: time at which the frame ends, in microseconds; negative for an empty (padding)
            frame.
    """
    time = f"{t_us:010d}us" if t_us >= 0 else _PADDING
    return f"{folder}/{recording}_{time}.png"


def read_off_on(path: str) -> np.ndarray:
    """Read the frame at a path as its off and on events: float32 (2, H, W).

    See ``Representation.off_on``.

    Args:
        path: result of :func:`frame_path`.

    Raises:
        InputError: when no data set of this process holds the frame.
    """
    folder, _, name = str(path).rpartition("/")
    recording, _, time = name.removesuffix(".png").rpartition("_")
    dataset = _datasets.get(folder)
    sequences = [s for s in dataset.sequences if s.name == recording] if dataset else []
    if not sequences:
        raise InputError(
            f"{path}: no data set of this process holds this frame; build the data set first, "
            "DATASETS.build(cfg.test_dataloader.dataset), and keep it"
        )
    if time == _PADDING:
        return np.zeros((2, *sequences[0].hw), np.float32)
    index = int(np.searchsorted(sequences[0].t_us, int(time.removesuffix("us"))))
    representation = build_representation(dataset.representation, 2, 2)
    return representation.off_on(sequences[0].read(index, index + 1)[0])
