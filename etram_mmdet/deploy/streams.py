"""Streams of images through a detector, each with a recurrent state of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
        InputError: ``size`` is no whole number of at least 1, or the network is an exported graph
            for another number of streams.
    """

    def __init__(self, inferencer: ImageDetector, size: int) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"a batch of {size!r} streams, expected a whole number of at least 1")
        fixed = inferencer.description.batch if inferencer.description.frame_shape else None
        if fixed is not None and size != fixed:
            raise InputError(
                f"a batch of {size} streams, but the graph takes {fixed} in every call; "
                "export it with --batch free"
            )
        self.inferencer = inferencer
        self._fixed = fixed
        self._size = size
        self._states: dict[int, tuple] = {}  # of the streams that have begun

    def __len__(self) -> int:
        return self._size

    def reset(self, stream: int | None = None) -> None:
        """Forget all earlier images of one stream or of all streams.

        Args:
            stream: number of the stream, from 0. Default: all streams.

        Raises:
            InputError: there is no such stream.
        """
        if stream is None:
            self._states.clear()
            return
        self._check([stream])
        self._states.pop(stream, None)

    def look(self, images: Mapping[int, np.ndarray]) -> dict[int, Boxes]:
        """Run the network on the next images of some streams, without the operating points.

        Args:
            images: image (C, H, W) of each of these streams, by the number of the stream.

        Returns:
            All detections, by the number of the stream.

        Raises:
            InputError: there is no such stream, the images differ in shape, or an exported graph
                takes another number of images.
        """
        if not images:
            return {}
        self._check_images(images)
        engine = self.inferencer.engine
        states = engine.joined([self._states.get(stream) for stream in images])
        found, states = engine(np.stack(list(images.values())), states)
        for stream, state in zip(images, engine.split(states, len(images)), strict=True):
            self._states[stream] = state
        return dict(zip(images, found, strict=True))

    def _check_images(self, images: Mapping[int, np.ndarray]) -> None:
        self._check(images)
        if self._fixed is not None and len(images) != self._fixed:
            raise InputError(
                f"{len(images)} images, but the graph takes {self._fixed} in every call; export "
                "it with --batch free"
            )
        if len(shapes := {np.shape(image) for image in images.values()}) > 1:
            raise InputError(
                f"images of the shapes {', '.join(map(str, sorted(shapes)))} in one call, expected "
                "one shape; cameras of different sensors need an inferencer each"
            )

    def _check(self, streams: Iterable[int]) -> None:
        for stream in streams:
            if not isinstance(stream, int | np.integer) or not 0 <= stream < self._size:
                raise InputError(
                    f"stream {stream!r}: expected a number from 0 to {self._size - 1}, since the "
                    f"batch has {self._size} streams"
                )

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
