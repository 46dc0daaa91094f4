"""Follow recordings and cameras with a detector, whatever program runs its network."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.deploy.engines import Engine
from etram_mmdet.deploy.window_times import check_step, evaluated_times, start_on_grid
from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.evaluation.operating_points.file import load_operating_points
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.notices import say


class Window(NamedTuple):
    """One window of a stream with its detections.

    Attributes:
        t_us: end of the window, in microseconds of the recording's clock.
        image: (C, H, W) frame that the representation made of the window's events.
        boxes: detections, best first, in sensor pixels and cut to the frame, with scores and
            class names.
        found: the same detections in network pixels; they may reach beyond the frame.
        seen: all detections of the network, from the lowest score of the model's ``test_cfg``,
            before the operating points.
    """

    t_us: int
    image: np.ndarray
    boxes: Boxes
    found: Boxes
    seen: Boxes


class Inferencer:
    """Detects in streams of events, window by window. Every stream has a recurrent state of its own.

    Args:
        engine: runs the network.
        score_thr: lowest score of a box. Default: thresholds of ``operating_points``, else of the
            model's ``test_cfg``, else `SCORE_THR`.
        operating_points: a file that ``tools/tune_thresholds.py`` wrote. Default: none.
        step_us: microseconds from the end of one window to the end of the next. Default: the step
            of the training. If the model does not hold it: 50 ms, or the length of the window if
            that is shorter, and a warning.
    """

    def __init__(
        self,
        engine: Engine,
        score_thr: float | None = None,
        operating_points: str | Path | None = None,
        step_us: int | None = None,
    ) -> None:
        self.engine = engine
        self.description = engine.description
        self.classes = self.description.classes
        self.palette = [tuple(colour) for colour in self.description.palette]
        self.window_us = self.description.window_us
        self.sensor_px = self.description.sensor_px
        self._scale = self.representation(2, 2).scale
        self.step_us = step_us or self.description.step_us or self._assumed_step_us()
        self.operating_points = self._operating_points(score_thr, operating_points)
        if self.operating_points.switched_off:
            names = ", ".join(self.operating_points.switched_off)
            say(f"switched off by a score threshold of 1: {names}", logging.WARNING)
        self._own = self.new_stream()

    def new_stream(self) -> EventStream:
        """A stream that has seen nothing yet. Any number of streams may take turns."""
        return EventStream(self)

    def batch(self, size: int) -> StreamBatch:
        """Several streams that are looked at in one call, such as those of several cameras.

        Args:
            size: number of streams.
        """
        return StreamBatch(self, size)

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
        return build_representation(self.description.representation, height, width)

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
        """Boxes of one image that pass the operating points, and the recurrent state after it.

        Boxes are best first, in network pixels, and may reach beyond the frame.

        Args:
            image: (C, H, W) of :meth:`representation`.
            states: the states after the image before. None: a stream begins.
        """
        seen, states = self.look(image, states)
        return self.sure(seen, image), states

    def look(self, image: np.ndarray, states: tuple | None) -> tuple[Boxes, tuple]:
        """All boxes that the network finds in an image, and the state after it.

        The arguments are those of :meth:`step`.
        """
        (seen,), states = self.engine(image[None], states)
        return seen, states

    def sure(self, seen: Boxes, image: np.ndarray) -> Boxes:
        """Those boxes of :meth:`look` that pass the operating points, which see them as they are shown: cut."""
        return seen[self.operating_points.rows(seen.clipped(image.shape[1:]), self._scale)]

    def shown(self, found: Boxes, image: np.ndarray) -> Boxes:
        """Boxes of :meth:`step` as a person sees them: cut to the frame, in sensor pixels."""
        clipped = found.clipped(image.shape[1:])
        return replace(clipped, bboxes_xyxy=clipped.bboxes_xyxy * self._scale)

    def draw(self, window: Window, scale: int = 1) -> np.ndarray:
        """The events of a window with its boxes: an RGB image (H, W, 3) of bytes.

        Args:
            window: from :meth:`windows`.
            scale: pixels of the image per sensor pixel. Default: 1.
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
        """Every window of a recording that ends at :meth:`times`, whose arguments these are.

        Each call is a stream of its own, so that the windows of several recordings may be asked for in turns.
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
        """A window with its detections before and after the operating points.

        Args:
            t_us: end of the window, in microseconds.
            image: (C, H, W) frame of the window.
            seen: all boxes of :meth:`look`.
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
        """``(t_us, boxes)`` of :meth:`windows`."""
        return (
            (window.t_us, window.boxes)
            for window in self.windows(recording, start_us, stop_us, labels)
        )

    def _assumed_step_us(self) -> int:
        step_us = min(STEP_US, self.window_us)
        say(
            f"the model does not say at which step it was trained; windows end {step_us / 1000:g} ms apart. Where its "
            "training stepped otherwise, say so: step_us=... of EventInferencer, --step-ms of tools/detect.py",
            logging.WARNING,
        )
        return step_us

    def check_sensor(self, recording: Recording) -> None:
        """Refuse a recording of another sensor than the one that a graph was exported for."""
        size = recording.width, recording.height
        if self.description.frame_shape is not None and size != self.sensor_px:
            raise InputError(
                f"{recording.path}: a sensor of {size[0]}x{size[1]} pixels, but the exported "
                f"detector takes {self.sensor_px[0]}x{self.sensor_px[1]}; export the checkpoint "
                f"for this sensor: tools/export.py CHECKPOINT OUT.onnx --sensor {size[0]} {size[1]}"
            )

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


class EventStream:
    """One stream of images through an :class:`Inferencer`, with its recurrent state.

    Args:
        inferencer: runs the network.
    """

    def __init__(self, inferencer: Inferencer) -> None:
        self.inferencer = inferencer
        self._states: tuple | None = None

    def reset(self) -> None:
        """Forget what was seen: the next image begins a stream."""
        self._states = None

    def detect(self, image: np.ndarray) -> Boxes:
        """Boxes in the next image (C, H, W); best first, in sensor pixels, cut to the frame."""
        return self.inferencer.shown(self.step(image), image)

    def step(self, image: np.ndarray) -> Boxes:
        """The same boxes in network pixels, not cut, see :meth:`Inferencer.step`."""
        return self.inferencer.sure(self.look(image), image)

    def look(self, image: np.ndarray) -> Boxes:
        """All boxes that the network finds, see :meth:`Inferencer.look`."""
        seen, self._states = self.inferencer.look(image, self._states)
        return seen


class StreamBatch:
    """Several streams whose due images go through the network as one batch.

    Each stream has a state of its own. Streams without an image in a call keep theirs.

    Args:
        inferencer: runs the network.
        size: number of streams.
    """

    def __init__(self, inferencer: Inferencer, size: int) -> None:
        fixed = inferencer.description.batch if inferencer.description.frame_shape else None
        if fixed is not None and size != fixed:
            raise InputError(
                f"a batch of {size} streams, but the graph takes {fixed} in every call; "
                "export it with --batch free"
            )
        self.inferencer = inferencer
        self._fixed = fixed
        self._states: list[tuple | None] = [None] * size

    def __len__(self) -> int:
        return len(self._states)

    def reset(self, stream: int | None = None) -> None:
        """Forget what one stream has seen, or all streams.

        Args:
            stream: its number, from 0. Default: all.
        """
        for number in range(len(self)) if stream is None else [stream]:
            self._states[number] = None

    def look(self, images: Mapping[int, np.ndarray]) -> dict[int, Boxes]:
        """All boxes that the network finds in the images that are due.

        Args:
            images: image (C, H, W) by the number of its stream, of any of the streams.
        """
        if not images:
            return {}
        if self._fixed is not None and len(images) != self._fixed:
            raise InputError(
                f"{len(images)} images, but the graph takes {self._fixed} in every call; export "
                "it with --batch free"
            )
        engine = self.inferencer.engine
        states = engine.joined([self._states[stream] for stream in images])
        found, states = engine(np.stack(list(images.values())), states)
        for stream, state in zip(images, engine.split(states, len(images)), strict=True):
            self._states[stream] = state
        return dict(zip(images, found, strict=True))

    def detect(self, images: Mapping[int, np.ndarray]) -> dict[int, Boxes]:
        """Boxes that pass the operating points; best first, in sensor pixels, cut to the frame.

        Args:
            images: as for :meth:`look`.
        """
        inferencer = self.inferencer
        return {
            stream: inferencer.shown(inferencer.sure(seen, images[stream]), images[stream])
            for stream, seen in self.look(images).items()
        }
