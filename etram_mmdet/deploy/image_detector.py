"""Detection in images one by one, with any engine and the thresholds of the user or the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from etram_mmdet.deploy.engines import Engine
from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.evaluation.operating_points.file import load_operating_points
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.utils.errors import InputError


class ImageDetector:
    """Detects objects in images of events; the caller keeps the recurrent states.

    Args:
        engine: engine that runs the network.
        score_thr: lowest score of a returned box, for all classes. Default: thresholds from
            ``operating_points``, else from the model's ``test_cfg``, else `SCORE_THR` (0.3).
        operating_points: file that ``tools/tune_thresholds.py`` wrote. Default: none.
    """

    def __init__(
        self,
        engine: Engine,
        score_thr: float | None = None,
        operating_points: str | Path | None = None,
    ) -> None:
        self.engine = engine
        self.description = engine.description
        self.classes = self.description.classes
        self.palette = [tuple(colour) for colour in self.description.palette]
        self.sensor_px = self.description.sensor_px
        self._scale = self.representation(2, 2).scale
        self.operating_points = self._operating_points(score_thr, operating_points)

    def representation(self, height: int | None = None, width: int | None = None) -> Representation:
        """Create the representation that turns events of a sensor into images for the network.

        Args:
            height: height of the sensor in pixels. Default: as in training, if the checkpoint
                stores it.
            width: width of the sensor in pixels. Default: as in training.

        Raises:
            InputError: height or width is missing, and the checkpoint stores neither.
        """
        if height is None and width is None and self.sensor_px is not None:
            width, height = self.sensor_px
        if height is None or width is None:
            raise InputError(
                "the checkpoint does not state the size of its sensor; give it in pixels: "
                "representation(height, width)"
            )
        return build_representation(self.description.representation, height, width)

    def step(self, image: np.ndarray, states: tuple | None) -> tuple[Boxes, tuple]:
        """Detect in one image with a recurrent state that the caller keeps.

        Args:
            image: (C, H, W), from :meth:`representation`.
            states: recurrent state after the previous image, or ``None`` at the start of a stream.

        Returns:
            Detections that pass the operating points, best first, in network pixels, unclipped (so
            they may reach beyond the frame); and the recurrent state after this image.
        """
        seen, states = self.look(image, states)
        return self.sure(seen, image), states

    def look(self, image: np.ndarray, states: tuple | None) -> tuple[Boxes, tuple]:
        """Run the network on one image; like :meth:`step`, but without the operating points.

        Args:
            image: (C, H, W), from :meth:`representation`.
            states: recurrent state after the previous image, or ``None`` at the start of a stream.

        Returns:
            All detections that the network predicts, and the recurrent state after this image.
        """
        (seen,), states = self.engine(np.asarray(image)[None], states)
        return seen, states

    def sure(self, seen: Boxes, image: np.ndarray) -> Boxes:
        """Select the boxes that pass the operating points.

        Thresholds by size are applied to the clipped boxes, since a user sees them clipped.

        Args:
            seen: boxes from :meth:`look`.
            image: (C, H, W) in which they were found.
        """
        return seen[self.operating_points.rows(seen.clipped(image.shape[1:]), self._scale)]

    def shown(self, found: Boxes, image: np.ndarray) -> Boxes:
        """Convert boxes for display: clipped to the frame, in sensor pixels.

        Args:
            found: boxes from :meth:`step`, in network pixels.
            image: (C, H, W) in which they were found.
        """
        clipped = found.clipped(image.shape[1:])
        return replace(clipped, bboxes_xyxy=clipped.bboxes_xyxy * self._scale)

    def _operating_points(
        self, score_thr: float | None, path: str | Path | None
    ) -> OperatingPoints:
        if score_thr is not None:
            return OperatingPoints.common(self.classes, score_thr)
        tuned: Mapping | None = self.description.operating_points
        if path is not None:
            tuned = load_operating_points(path)
        if tuned is None:
            return OperatingPoints.common(self.classes, SCORE_THR)
        return OperatingPoints.from_config(dict(tuned), self.classes)
