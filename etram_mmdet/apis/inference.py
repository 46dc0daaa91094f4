"""Detectors as functions: load one, and follow a recording or a camera with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from etram_mmdet.datasets.shared_keys import dataset_config, representation_of
from etram_mmdet.engine.checkpoints.opening import init_detector
from etram_mmdet.engine.config.plain_config import read_plain_config
from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.models.inference import Streamer
from etram_mmdet.utils.errors import InputError


class Window(NamedTuple):
    """What the network saw and said; ``image`` (C, H, W) is the representation of the events up to ``t_us``.

    ``boxes`` are the detections, best first, in sensor pixels and cut to the frame, with scores and the names of their
    classes. ``found`` are the same as the network told them: in network pixels, and they may reach beyond the frame.
    """

    t_us: int
    image: np.ndarray
    boxes: Boxes
    found: Boxes


class EventInferencer:
    """Detects in one stream of events, window by window, and keeps the recurrent state in between.

    ``model``: a detector of :func:`init_detector`, or what that takes. Boxes from ``score_thr`` on are told; where it
    is left out, the ``operating_points`` (a file that ``tools/tune_thresholds.py`` wrote) or those of the model's
    ``test_cfg`` decide, else `SCORE_THR`. Windows end ``step_us`` apart, as the frames of training do: by default 50 ms
    or the window where that is shorter. With labels at 30 or 60 Hz RVT's rule steps 50 ms whatever the window.
    ``precision``, ``fuse`` and ``compiled`` make it faster, see :class:`Streamer`; without them it says what
    evaluation says, up to rounding.

        inferencer = EventInferencer("work_dirs/demo/iter_850.pth")
        for t_us, boxes in inferencer.stream("recording.h5"):
            print(t_us, boxes.names, boxes.scores)

    With a camera: ``image = representation(events, (t0_us, t1_us))`` for every window, with the representation that
    ``inferencer.representation(height, width)`` gives, then ``inferencer.detect(image)``.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | None = None,
        score_thr: float | None = None,
        operating_points: str | Path | None = None,
        step_us: int | None = None,
        precision: str = "float32",
        fuse: bool = False,
        compiled: bool = False,
    ) -> None:
        if str(device).endswith(".pth"):
            raise InputError(
                f"EventInferencer: {device} is a checkpoint; use EventInferencer(init_detector({str(model)!r}, "
                f"{str(device)!r})) for a config and its weights"
            )
        self.model = model if isinstance(model, nn.Module) else init_detector(model, device=device)
        self.classes = tuple(self.model.dataset_meta["classes"])
        data = dataset_config(self.model.cfg)
        self.window_us = data.get("window_us") or PreprocessSettings.window_us
        self._representation = representation_of(data)
        self._scale = self.representation(2, 2).scale
        self.step_us = step_us or min(STEP_US, self.window_us)
        self.operating_points = self._operating_points(score_thr, operating_points)
        self._streamer = Streamer(self.model, precision, fuse, compiled)
        self._states: tuple | None = None

    def reset(self) -> None:
        """Forget what was seen: the next window begins a stream."""
        self._states = None

    def representation(self, height: int, width: int) -> Representation:
        """What makes the network's images from the events of a sensor of this size in pixels."""
        return build_representation(self._representation, height, width)

    def detect(self, image: np.ndarray) -> Boxes:
        """Boxes in one image (C, H, W) of :meth:`representation`, the next of the stream.

        Best first, in sensor pixels, cut to the frame.
        """
        return self._shown(self._find(image), image)

    def _find(self, image: np.ndarray) -> Boxes:
        """What passes the operating points, as the network told it; these see what is shown, the boxes cut."""
        frames = torch.from_numpy(image)[None].to(self._streamer.device)
        (found,), self._states = self._streamer(frames, self._states)
        bboxes, scores, labels = (found[key].cpu().numpy() for key in ("bboxes", "scores", "labels"))
        boxes = Boxes(bboxes, labels, scores, classes=self.classes)
        return boxes[self.operating_points.rows(boxes.clipped(image.shape[1:]), self._scale)]

    def _shown(self, found: Boxes, image: np.ndarray) -> Boxes:
        clipped = found.clipped(image.shape[1:])
        return replace(clipped, bboxes_xyxy=clipped.bboxes_xyxy * self._scale)

    def windows(
        self, recording: str | Path | Recording, start_us: int | None = None, stop_us: int | None = None
    ) -> Iterator[Window]:
        """Every window that ends after ``start_us`` and by ``stop_us``, in the recording's clock; the whole without.

        Starts a stream: the state of the one before is forgotten.
        """
        if not isinstance(recording, Recording):
            with open_recording(recording) as opened:
                yield from self.windows(opened, start_us, stop_us)
            return
        self.reset()
        representation = self.representation(recording.height, recording.width)
        start_us = recording.t_first_us if start_us is None else start_us
        stop_us = recording.t_last_us if stop_us is None else stop_us
        for t_us in range(start_us + self.step_us, stop_us + 1, self.step_us):
            window = t_us - self.window_us, t_us
            image = representation(recording.read(*window), window)
            found = self._find(image)
            yield Window(t_us, image, self._shown(found, image), found)

    def stream(
        self, recording: str | Path | Recording, start_us: int | None = None, stop_us: int | None = None
    ) -> Iterator[tuple[int, Boxes]]:
        """``(t_us, boxes)`` of :meth:`windows`."""
        return ((window.t_us, window.boxes) for window in self.windows(recording, start_us, stop_us))

    def _operating_points(self, score_thr: float | None, path: str | Path | None) -> OperatingPoints:
        if score_thr is not None:
            return OperatingPoints.common(self.classes, score_thr)
        tuned = (self.model.cfg.model.get("test_cfg") or {}).get("operating_points")
        if path is not None:
            tuned = load_operating_points(path)
        if tuned is None:
            return OperatingPoints.common(self.classes, SCORE_THR)
        return OperatingPoints.from_config(dict(tuned), self.classes)


def load_operating_points(path: str | Path) -> dict:
    """What a file of ``tools/tune_thresholds.py`` defines; raises ``InputError`` where it is no such file."""
    try:
        tuned = read_plain_config(path).get("operating_points")
    except InputError as error:
        raise InputError(f"{error}: not a file of operating points; tools/tune_thresholds.py writes it") from error
    if not isinstance(tuned, dict):
        raise InputError(f"{path}: defines no operating_points; tools/tune_thresholds.py writes such a file")
    return tuned
