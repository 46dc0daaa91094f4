"""Pictures of detections; the films of tools/detect.py and tools/live.py consist of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.visualization.detection_film import detection_film


def film_of(windows: Iterable[Window], inferencer: Inferencer, name: str) -> Iterator[np.ndarray]:
    """Draw windows one by one, with name and time above and a legend below.

    Args:
        windows: windows with detections, in order.
        inferencer: detector that found them; gives the class names and colours.
        name: name of the recording or the film.

    Returns:
        RGB pictures (H, W, 3), uint8.
    """
    representation = inferencer.representation(2, 2)  # only its channels matter here
    frames = (
        (
            representation.off_on(window.image),
            FrameResult(name, window.t_us, truth=Boxes.empty(), found=window.found),
        )
        for window in windows
    )
    return detection_film(frames, inferencer.classes, inferencer.palette, with_truth=False)
