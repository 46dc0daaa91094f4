"""Streams of images through a detector, each with a recurrent state of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from etram_mmdet.deploy.image_detector import ImageDetector
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.utils.errors import InputError


class EventStream:
    """One stream of images through an :class:`ImageDetector`, with its recurrent state.

    Args:
        inferencer: detector that runs on the images.
    """

    def __init__(self, inferencer: ImageDetector) -> None:
        self.inferencer = inferencer
        self._states: tuple | None = None

    def reset(self) -> None:
        """Forget all earlier images: the next one begins a stream."""
        self._states = None

    def detect(self, image: np.ndarray) -> Boxes:
        """Detect in the next image of the stream.

        Args:
            image: (C, H, W), from :meth:`ImageDetector.representation`.

        Returns:
            Detections, best first, in sensor pixels and clipped to the frame.
        """
        return self.inferencer.shown(self.step(image), image)

    def step(self, image: np.ndarray) -> Boxes:
        """Detect in the next image; boxes are in network pixels and unclipped.

        Args:
            image: (C, H, W), from :meth:`ImageDetector.representation`.
        """
        return self.inferencer.sure(self.look(image), image)

    def look(self, image: np.ndarray) -> Boxes:
        """Run the network on the next image, without the operating points.

        Args:
            image: (C, H, W), from :meth:`ImageDetector.representation`.
        """
        seen, self._states = self.inferencer.look(image, self._states)
        return seen


class StreamBatch:
    """Several streams whose next images go through the network as one batch.

    Each stream has a state of its own. Streams without an image in a call keep theirs.

    Args:
        inferencer: detector that runs on the images.
        size: number of streams.

    Raises:
        InputError: the network is an exported graph for another number of streams.
    """

    def __init__(self, inferencer: ImageDetector, size: int) -> None:
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
        """Forget all earlier images of one stream or of all streams.

        Args:
            stream: number of the stream, from 0. Default: all streams.
        """
        for number in range(len(self)) if stream is None else [stream]:
            self._states[number] = None

    def look(self, images: Mapping[int, np.ndarray]) -> dict[int, Boxes]:
        """Run the network on the next images of some streams, without the operating points.

        Args:
            images: image (C, H, W) of each of these streams, by the number of the stream.

        Returns:
            All detections, by the number of the stream.

        Raises:
            InputError: an exported graph takes another number of images.
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
        """Detect in the next images of some streams.

        Args:
            images: as for :meth:`look`.

        Returns:
            Detections that pass the operating points, by the number of the stream; best first, in
            sensor pixels and clipped to the frame.
        """
        inferencer = self.inferencer
        return {
            stream: inferencer.shown(inferencer.sure(seen, images[stream]), images[stream])
            for stream, seen in self.look(images).items()
        }
