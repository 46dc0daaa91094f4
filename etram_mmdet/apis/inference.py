"""Detectors as functions: load one, and follow a recording or a camera with it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn

from etram_mmdet.apis.window_times import check_step, evaluated_times, start_on_grid
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
    ``seen`` are all that it told, from the least score of the model's ``test_cfg`` on, before the operating points.
    """

    t_us: int
    image: np.ndarray
    boxes: Boxes
    found: Boxes
    seen: Boxes


class EventInferencer:
    """Detects in streams of events, window by window. Every stream has a recurrent state of its own.

    Args:
        model: a detector of :func:`init_detector`, or what that takes.
        device: where to build it; default: as :func:`init_detector`.
        score_thr: least score of a box. Default: thresholds of ``operating_points``, else of the model's
            ``test_cfg``, else `SCORE_THR`.
        operating_points: a file that ``tools/tune_thresholds.py`` wrote.
        step_us: microseconds from the end of one window to that of the next. Default: as in the training,
            which the checkpoint says. Where it does not: 50 ms, or the window if shorter, and a warning.
        precision: see :class:`Streamer`, as ``fuse`` and ``compiled``, which make it faster. Without them
            it says what evaluation says, up to rounding, in the windows of evaluation (:meth:`times`).
        fuse: fold norms into convolutions. Default: no.
        compiled: use ``torch.compile``. Default: no.

    Examples:
        >>> inferencer = EventInferencer("work_dirs/demo/iter_850.pth")
        >>> for t_us, boxes in inferencer.stream("recording.h5"):
        ...     print(t_us, boxes.names, boxes.scores)

    With a camera: ``image = representation(events, (t0_us, t1_us))`` for every window, with the representation that
    ``inferencer.representation()`` gives (``representation(height, width)`` for another sensor than the training's),
    then ``inferencer.detect(image)``. With several cameras, each has a stream of its own: ``camera =
    inferencer.new_stream()``, then ``camera.detect(image)``. A recording that does not say how large its sensor is has
    that of the training.
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
        self._data = dataset_config(self.model.cfg)
        self.window_us = self._data.get("window_us") or PreprocessSettings.window_us
        self._representation = representation_of(self._data)
        self._scale = self.representation(2, 2).scale
        self.step_us = step_us or getattr(self.model, "step_us", None) or self._assumed_step_us()
        self.sensor_px: tuple[int, int] | None = getattr(self.model, "sensor_px", None)
        self.operating_points = self._operating_points(score_thr, operating_points)
        if self.operating_points.switched_off:
            names = ", ".join(self.operating_points.switched_off)
            print_log(
                f"switched off by a score threshold of 1: {names}", "current", logging.WARNING
            )
        self._streamer = Streamer(self.model, precision, fuse, compiled)
        self._own = self.new_stream()

    def new_stream(self) -> EventStream:
        """A stream that has seen nothing yet; any number of them may take turns."""
        return EventStream(self)

    def reset(self) -> None:
        """Forget the images that :meth:`detect` was given: the next one begins a stream."""
        self._own.reset()

    def representation(self, height: int | None = None, width: int | None = None) -> Representation:
        """What makes the network's images from the events of a sensor.

        Args:
            height: of the sensor in pixels. Default: as in the training, which the checkpoint says.
            width: likewise.

        Raises:
            InputError: neither is given, and the checkpoint does not say.
        """
        if height is None and width is None and self.sensor_px is not None:
            width, height = self.sensor_px
        if height is None or width is None:
            raise InputError(
                "the model does not say how large the sensor is; representation(height, width) in pixels"
            )
        return build_representation(self._representation, height, width)

    def fit_sensor(self, recording: Recording) -> str:
        """Let a recording that does not say how large its sensor is have that of the training, if its events fit.

        Returns:
            A sentence on what is assumed; empty where the file says its size.
        """
        if not recording.size_is_assumed:
            return ""
        is_trained = self.sensor_px is not None and recording.take_sensor(*self.sensor_px)
        why = (
            "as in the training"
            if is_trained
            else "the smallest known one that its events fit into"
        )
        return (
            f"{recording.path}: does not say how large its sensor is; taken as {recording.width}x{recording.height}, "
            f"{why}. State another: --sensor WIDTH HEIGHT (sensor_px of open_recording)"
        )

    def detect(self, image: np.ndarray) -> Boxes:
        """Boxes in one image (C, H, W) of :meth:`representation`: the next of the inferencer's own stream.

        Best first, in sensor pixels, cut to the frame. The streams of :meth:`windows` and :meth:`new_stream` are
        others.
        """
        return self._own.detect(image)

    def step(self, image: np.ndarray, states: tuple | None) -> tuple[Boxes, tuple]:
        """Boxes of one image (C, H, W) that pass the operating points, and the recurrent state after it.

        ``states`` are those after the image before, ``None`` where a stream begins. Boxes are best first, in network
        pixels, and may reach beyond the frame.
        """
        seen, states = self.look(image, states)
        return self.sure(seen, image), states

    def look(self, image: np.ndarray, states: tuple | None) -> tuple[Boxes, tuple]:
        """All boxes that the network tells of an image, and the state after it; as :meth:`step` otherwise."""
        frames = torch.from_numpy(image)[None].to(self._streamer.device)
        (found,), states = self._streamer(frames, states)
        bboxes, scores, labels = (
            found[key].cpu().numpy() for key in ("bboxes", "scores", "labels")
        )
        return Boxes(bboxes, labels, scores, classes=self.classes), states

    def sure(self, seen: Boxes, image: np.ndarray) -> Boxes:
        """Those boxes of :meth:`look` that pass the operating points, which see them as they are shown: cut."""
        return seen[self.operating_points.rows(seen.clipped(image.shape[1:]), self._scale)]

    def shown(self, found: Boxes, image: np.ndarray) -> Boxes:
        """Boxes of :meth:`step` as a person sees them: cut to the frame, in sensor pixels."""
        clipped = found.clipped(image.shape[1:])
        return replace(clipped, bboxes_xyxy=clipped.bboxes_xyxy * self._scale)

    def draw(self, window: Window, scale: int = 1) -> np.ndarray:
        """The events of a window of :meth:`windows` with its boxes: an RGB image (H, W, 3) of bytes.

        Args:
            window: the window.
            scale: pixels of the image per sensor pixel. Default: 1.
        """
        from etram_mmdet.visualization.draw import draw_boxes, events_to_rgb

        events = events_to_rgb(self.representation(*window.image.shape[1:]).off_on(window.image))
        image = events.repeat(self._scale * scale, 0).repeat(self._scale * scale, 1)
        return draw_boxes(
            image, window.boxes, self.classes, self.model.dataset_meta["palette"], scale=scale
        )

    def windows(
        self,
        recording: str | Path | Recording,
        start_us: int | None = None,
        stop_us: int | None = None,
        labels: str | Path | None = None,
    ) -> Iterator[Window]:
        """Every window of a recording that ends at :meth:`times`, whose arguments these are.

        Each call is a stream of its own, so that the windows of several recordings may be asked for in turns.
        """
        if not isinstance(recording, Recording):
            with open_recording(recording) as opened:
                if assumed := self.fit_sensor(opened):
                    print_log(assumed, "current")
                yield from self.windows(opened, start_us, stop_us, labels)
            return
        self.fit_sensor(recording)
        stream = self.new_stream()
        representation = self.representation(recording.height, recording.width)
        for t_us in self.times(recording, start_us, stop_us, labels):
            window = t_us - self.window_us, t_us
            image = representation(recording.read(*window), window)
            seen = stream.look(image)
            found = self.sure(seen, image)
            yield Window(t_us, image, self.shown(found, image), found, seen)

    def times(
        self,
        recording: Recording,
        start_us: int | None = None,
        stop_us: int | None = None,
        labels: str | Path | None = None,
    ) -> Sequence[int]:
        """When the windows of a stream end, in microseconds of the recording's clock.

        Args:
            recording: what is followed.
            start_us: windows end after it, and without ``labels`` at whole steps from it. Default: the last whole step
                of the recording's clock by the first event.
            stop_us: windows end by it. Default: the last event.
            labels: the recording's label file, or the sequence folder that tools/preprocess.py made of it. Windows then
                begin and end where those of an evaluation do, and step on after its last one. Default: none.

        Raises:
            InputError: for labels that no data set would take.
        """
        evaluated = []
        if labels is not None:
            evaluated = evaluated_times(recording, labels, self._data, self.window_us)
            check_step(evaluated, self.step_us, labels)
            after_us = -math.inf if start_us is None else start_us
            by_us = math.inf if stop_us is None else stop_us
            evaluated = evaluated[(evaluated > after_us) & (evaluated <= by_us)].tolist()
        if evaluated:
            start_us = evaluated[-1]
        elif start_us is None:
            start_us = start_on_grid(recording.t_first_us, self.step_us)
        last_us = recording.t_last_us if stop_us is None else stop_us
        steps = range(start_us + self.step_us, last_us + 1, self.step_us)
        return [*evaluated, *steps] if evaluated else steps

    def stream(
        self,
        recording: str | Path | Recording,
        start_us: int | None = None,
        stop_us: int | None = None,
        labels: str | Path | None = None,
    ) -> Iterator[tuple[int, Boxes]]:
        """``(t_us, boxes)`` of :meth:`windows`."""
        return (
            (window.t_us, window.boxes)
            for window in self.windows(recording, start_us, stop_us, labels)
        )

    def _assumed_step_us(self) -> int:
        step_us = min(STEP_US, self.window_us)
        print_log(
            f"the model does not say at which step it was trained; windows end {step_us / 1000:g} ms apart. Where its "
            "training stepped otherwise, say so: step_us=... of EventInferencer, --step-ms of tools/detect.py",
            "current",
            logging.WARNING,
        )
        return step_us

    def _operating_points(
        self, score_thr: float | None, path: str | Path | None
    ) -> OperatingPoints:
        if score_thr is not None:
            return OperatingPoints.common(self.classes, score_thr)
        tuned = (self.model.cfg.model.get("test_cfg") or {}).get("operating_points")
        if path is not None:
            tuned = load_operating_points(path)
        if tuned is None:
            return OperatingPoints.common(self.classes, SCORE_THR)
        return OperatingPoints.from_config(dict(tuned), self.classes)


class EventStream:
    """One stream of images through an :class:`EventInferencer`, with the recurrent state after those seen so far."""

    def __init__(self, inferencer: EventInferencer) -> None:
        self.inferencer = inferencer
        self._states: tuple | None = None

    def reset(self) -> None:
        """Forget what was seen: the next image begins a stream."""
        self._states = None

    def detect(self, image: np.ndarray) -> Boxes:
        """Boxes in the next image (C, H, W) of the stream; best first, in sensor pixels, cut to the frame."""
        return self.inferencer.shown(self.step(image), image)

    def step(self, image: np.ndarray) -> Boxes:
        """The same as the network tells them, see :meth:`EventInferencer.step`."""
        return self.inferencer.sure(self.look(image), image)

    def look(self, image: np.ndarray) -> Boxes:
        """All that the network tells, see :meth:`EventInferencer.look`."""
        seen, self._states = self.inferencer.look(image, self._states)
        return seen


def load_operating_points(path: str | Path) -> dict:
    """What a file of ``tools/tune_thresholds.py`` defines; raises ``InputError`` where it is no such file."""
    try:
        tuned = read_plain_config(path).get("operating_points")
    except InputError as error:
        raise InputError(
            f"{error}: not a file of operating points; tools/tune_thresholds.py writes it"
        ) from error
    if not isinstance(tuned, dict):
        raise InputError(
            f"{path}: defines no operating_points; tools/tune_thresholds.py writes such a file"
        )
    return tuned
