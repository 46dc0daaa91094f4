"""Detection in recordings and camera streams, window by window, with any engine."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.deploy.engines import Engine
from etram_mmdet.deploy.image_detector import ImageDetector
from etram_mmdet.deploy.streams import EventStream, StreamBatch
from etram_mmdet.deploy.window_times import check_step, evaluated_times, start_on_grid
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.notices import say


class Window(NamedTuple):
    """One window of a stream with its detections.

    Attributes:
        t_us: end of the window, in microseconds of the recording's clock.
        image: (C, H, W) representation of the events of the window.
        boxes: detections that pass the operating points, best first, in sensor pixels and clipped
            to the frame, with scores and class names.
        found: the same detections in network pixels and unclipped, so they may reach beyond the
            frame.
        seen: all detections with scores of at least ``score_thr`` of the model's ``test_cfg``,
            before the operating points, as ``found`` otherwise.
    """

    t_us: int
    image: np.ndarray
    boxes: Boxes
    found: Boxes
    seen: Boxes


class Inferencer(ImageDetector):
    """Detects objects in streams of events, window by window.

    Every stream has a recurrent state of its own.

    Args:
        engine: engine that runs the network.
        score_thr: lowest score of a returned box, for all classes. Default: thresholds from
            ``operating_points``, else from the model's ``test_cfg``, else `SCORE_THR` (0.3).
        operating_points: file that ``tools/tune_thresholds.py`` wrote. Default: none.
        step_us: microseconds from the end of one window to the end of the next. Default: the step
            of the training. If the model does not hold it: 50 ms, or the length of the window if
            that is shorter, and a warning.

    Raises:
        InputError: ``score_thr`` or ``step_us`` is out of range, or the operating points do not
            fit the classes.
    """

    def __init__(
        self,
        engine: Engine,
        score_thr: float | None = None,
        operating_points: str | Path | None = None,
        step_us: int | None = None,
    ) -> None:
        _check_options(score_thr, step_us)
        super().__init__(engine, score_thr, operating_points)
        self.window_us = self.description.window_us
        self.step_us = step_us or self.description.step_us or self._assumed_step_us()
        if self.operating_points.switched_off:
            names = ", ".join(self.operating_points.switched_off)
            say(f"classes switched off by a score threshold of 1: {names}", logging.WARNING)
        self._own = self.new_stream()

    def new_stream(self) -> EventStream:
        """Begin another stream. Any number of streams may be used in turns."""
        return EventStream(self)

    def batch(self, size: int) -> StreamBatch:
        """Begin several streams that are processed in one call, such as those of several cameras.

        Args:
            size: number of streams.
        """
        return StreamBatch(self, size)

    def reset(self) -> None:
        """Forget all images given to :meth:`detect`: the next one begins a stream."""
        self._own.reset()

    def fit_sensor(self, recording: Recording) -> str:
        """Set the sensor size of a recording whose file does not state it.

        The size is that of the training if all events fit into it. Otherwise it stays the smallest
        known one into which they fit.

        Args:
            recording: an open recording; its size is changed.

        Returns:
            A sentence on the size that is assumed; empty if the file states its size.
        """
        if not recording.size_is_assumed:
            return ""
        is_trained = self.sensor_px is not None and recording.take_sensor(*self.sensor_px)
        why = (
            "the size in training"
            if is_trained
            else "the smallest known size that its events fit into"
        )
        return (
            f"{recording.path}: does not state the size of its sensor; assumed "
            f"{recording.width}x{recording.height}, {why}. State another with "
            "--sensor WIDTH HEIGHT (sensor_px of open_recording)"
        )

    def detect(self, image: np.ndarray) -> Boxes:
        """Detect in the next image of the inferencer's own stream.

        Calls of :meth:`windows` and streams of :meth:`new_stream` do not touch this stream.

        Args:
            image: (C, H, W), from :meth:`representation`.

        Returns:
            Detections, best first, in sensor pixels and clipped to the frame.
        """
        return self._own.detect(image)

    def draw(self, window: Window, scale: int = 1) -> np.ndarray:
        """Draw the events of a window with its boxes.

        Args:
            window: window from :meth:`windows`.
            scale: pixels of the picture per sensor pixel. Default: 1.

        Returns:
            RGB picture (H, W, 3), uint8.
        """
        from etram_mmdet.visualization.draw import draw_boxes, events_to_rgb

        events = events_to_rgb(self.representation(*window.image.shape[1:]).off_on(window.image))
        image = events.repeat(self._scale * scale, 0).repeat(self._scale * scale, 1)
        return draw_boxes(image, window.boxes, self.classes, self.palette, scale=scale)

    def windows(
        self,
        recording: str | Path | Recording,
        start_us: int | None = None,
        stop_us: int | None = None,
        labels: str | Path | None = None,
    ) -> Iterator[Window]:
        """Yield the windows of a recording with their detections, in order of time.

        Each call begins a stream of its own, so several recordings may be followed in turns.

        Args:
            recording: file of a recording, or an open one.
            start_us: as for :meth:`times`.
            stop_us: as for :meth:`times`.
            labels: as for :meth:`times`.
        """
        if not isinstance(recording, Recording):
            with open_recording(recording) as opened:
                if assumed := self.fit_sensor(opened):
                    say(assumed)
                yield from self.windows(opened, start_us, stop_us, labels)
            return
        self.fit_sensor(recording)
        self.check_sensor(recording)
        stream = self.new_stream()
        representation = self.representation(recording.height, recording.width)
        for t_us in self.times(recording, start_us, stop_us, labels):
            window = t_us - self.window_us, t_us
            image = representation(recording.read(*window), window)
            yield self.window(t_us, image, stream.look(image))

    def window(self, t_us: int, image: np.ndarray, seen: Boxes) -> Window:
        """Create a window, with its detections before and after the operating points.

        Args:
            t_us: end of the window, in microseconds.
            image: (C, H, W) frame of the window.
            seen: all boxes from :meth:`look`.
        """
        found = self.sure(seen, image)
        return Window(t_us, image, self.shown(found, image), found, seen)

    def times(
        self,
        recording: Recording,
        start_us: int | None = None,
        stop_us: int | None = None,
        labels: str | Path | None = None,
    ) -> Sequence[int]:
        """End times of the windows of a stream, in microseconds of the recording's clock.

        Args:
            recording: an open recording.
            start_us: every window ends later than this; without ``labels``, the first ends one step
                later. Default: the last whole step of the recording's clock at or before the first
                event.
            stop_us: no window ends later than this. Default: the last event.
            labels: label file of the recording, or the sequence folder that tools/preprocess.py
                made from it. The windows are then those of an evaluation; after the last of them,
                windows follow at regular steps. Default: none.

        Raises:
            InputError: the labels are invalid, or hold no labelled frame.
        """
        evaluated = []
        if labels is not None:
            evaluated = evaluated_times(recording, labels, self.description.data, self.window_us)
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
        """Yield ``(t_us, boxes)`` of each window of :meth:`windows`.

        Args:
            recording: file of a recording, or an open one.
            start_us: as for :meth:`times`.
            stop_us: as for :meth:`times`.
            labels: as for :meth:`times`.
        """
        return (
            (window.t_us, window.boxes)
            for window in self.windows(recording, start_us, stop_us, labels)
        )

    def _assumed_step_us(self) -> int:
        step_us = min(STEP_US, self.window_us)
        say(
            "the checkpoint does not state the time from window to window in its training; assumed "
            f"{step_us / 1000:g} ms. State another with step_us=... of EventInferencer or with "
            "--step-ms",
            logging.WARNING,
        )
        return step_us

    def check_sensor(self, recording: Recording) -> None:
        """Refuse a recording of another sensor than the one for which a graph was exported.

        Args:
            recording: an open recording.

        Raises:
            InputError: the sensor has another size.
        """
        size = recording.width, recording.height
        if self.description.frame_shape is not None and size != self.sensor_px:
            raise InputError(
                f"{recording.path}: a sensor of {size[0]}x{size[1]} pixels, but the exported "
                f"detector takes {self.sensor_px[0]}x{self.sensor_px[1]}; export the checkpoint "
                f"for this sensor: tools/export.py CHECKPOINT OUT.onnx --sensor {size[0]} {size[1]}"
            )


def _check_options(score_thr: float | None, step_us: int | None) -> None:
    if score_thr is not None and not (isinstance(score_thr, Real) and 0 <= score_thr <= 1):
        raise InputError(f"score_thr={score_thr!r}, expected a number from 0 to 1")
    if step_us is not None and not (isinstance(step_us, Integral) and step_us >= 1):
        raise InputError(
            f"step_us={step_us!r}, expected a whole number of microseconds of at least 1"
        )
