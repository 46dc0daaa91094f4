"""What all programs that run a detector have in common, and what is checked around each call."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from etram_mmdet.deploy.description import Description
from etram_mmdet.deploy.post_processing import to_boxes
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.utils.errors import InputError

_MOST_LETTERS = 200  # of an engine's own words in a message
States = tuple[np.ndarray, ...]  # each (B, C, H, W), one row per stream


class Engine(ABC):
    """Runs one step of a detector for several streams at once. The caller keeps the states.

    Args:
        description: of the detector.
    """

    def __init__(self, description: Description) -> None:
        self.description = description

    @abstractmethod
    def __call__(self, frames: np.ndarray, states: tuple | None) -> tuple[list[Boxes], tuple]:
        """Detect boxes in the next frame of each stream.

        Args:
            frames: (B, C, H, W) frames of the representation.
            states: the states that the call before returned. None: the streams begin.

        Returns:
            Boxes of each frame after the lowest threshold and NMS, in pixels of the frame, and the
            states after these frames.
        """

    @abstractmethod
    def joined(self, states: Sequence[tuple | None]) -> tuple | None:
        """The states of several streams as one batch. None stands for a stream that begins."""

    @abstractmethod
    def split(self, states: tuple, batch: int) -> list[tuple]:
        """The state of each of ``batch`` streams."""


class GraphEngine(Engine):
    """Runs an exported graph. A subclass for another program implements :meth:`network`."""

    @abstractmethod
    def network(self, frames: np.ndarray, states: States) -> list[np.ndarray]:
        """Outputs of the graph: boxes, objectness, class scores and the next states."""

    def __call__(self, frames: np.ndarray, states: States | None) -> tuple[list[Boxes], States]:
        self._check(frames)
        states = self.blank(len(frames)) if states is None else states
        self._check_states(len(frames), states)
        try:
            outputs = self.network(frames, states)
        except InputError:
            raise
        except Exception as error:  # every program has classes of its own
            raise InputError(
                f"{type(self).__name__} cannot run the graph ({cause_of(error)}); try another "
                "backend, or export the checkpoint again: tools/export.py CHECKPOINT OUT.onnx"
            ) from error
        if not np.isfinite(outputs[1]).all():
            raise InputError(
                "the graph returned scores that are not finite (NaN or infinity), and its state "
                "will not recover; export a checkpoint whose weights are finite, with --precision "
                f"float32 (this graph is in {self.description.precision})"
            )
        boxes = [to_boxes(*rows, self.description) for rows in zip(*outputs[:3], strict=True)]
        return boxes, tuple(outputs[3:])

    def blank(self, batch: int) -> States:
        """States of ``batch`` streams that have seen nothing yet."""
        return tuple(
            np.zeros((batch, *state.shape), state.dtype) for state in self.description.states
        )

    def joined(self, states: Sequence[States | None]) -> States:
        rows = [self.blank(1) if state is None else state for state in states]
        return tuple(np.concatenate(tensors) for tensors in zip(*rows, strict=True))

    def split(self, states: States, batch: int) -> list[States]:
        return [tuple(tensor[i : i + 1] for tensor in states) for i in range(batch)]

    def _check(self, frames: np.ndarray) -> None:
        description = self.description
        if description.batch not in (None, len(frames)):
            raise InputError(
                f"frames of {len(frames)} streams, but the graph takes {description.batch} in "
                "every call; export it with --batch free"
            )
        expected = (len(frames), *description.frame_shape)
        if frames.shape != expected or frames.dtype != description.frame_dtype:
            raise InputError(
                f"frames of {frames.dtype} {frames.shape}, expected {description.frame_dtype} "
                f"{expected} (streams, channels, height, width), for a sensor of "
                f"{'x'.join(map(str, description.sensor_px))} pixels; make them with "
                "EventInferencer.representation(), or export the checkpoint for another sensor: "
                "tools/export.py CHECKPOINT OUT.onnx --sensor WIDTH HEIGHT"
            )

    def _check_states(self, batch: int, states: States) -> None:
        expected = [((batch, *each.shape), each.dtype) for each in self.description.states]
        found = [(each.shape, each.dtype) for each in states if isinstance(each, np.ndarray)]
        if len(found) != len(states) or found != expected:
            raise InputError(
                "the states are not those that the call before returned for as many streams "
                f"({len(expected)} arrays); give these, or None to begin a stream"
            )


def cause_of(error: Exception) -> str:
    """The line of an engine's error that says most, cut to `_MOST_LETTERS`.

    OpenVINO puts places in its own code before it.

    Args:
        error: what the engine raised.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception from ")]
    return (said or [type(error).__name__])[0][:_MOST_LETTERS]


def stated_threads() -> int:
    """Number of threads that ``OMP_NUM_THREADS`` states; 0 if it states none.

    OpenMP allows a list, one number for each level of nesting; the first counts. What it would
    ignore is ignored here, too. More threads than cores would wait for each other.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), os.cpu_count() or 1) if first.isdecimal() else 0
