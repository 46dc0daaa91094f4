"""mmengine visualizer for event frames, and the backend by which mmdet opens them as images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.logging import print_log
from mmengine.visualization import Visualizer
from torch import Tensor

from etram_mmdet.datasets.frame_paths import SCHEME, read_off_on
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.events.class_mapping import palette_of
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, os_errors
from etram_mmdet.utils.text import first_line

if TYPE_CHECKING:
    from etram_mmdet.visualization.draw import Colour

_PROBE_BYTES = 2**20


@VISUALIZERS.register_module()
class EventVisualizer(Visualizer):
    """Draws event frames with boxes, and passes pictures and numbers to all backends.

    A frame is enlarged by a whole factor. Ground truth is dashed, white if it was detected and
    yellow if it was missed. Detections have the colour of their class. A line above the frame names
    recording and time. A backend that cannot write costs one warning, not the training.

    Args:
        name: name of the visualizer, as in mmengine's ``Visualizer``. Default: ``visualizer``.
        image: first picture (H, W, 3), as in mmengine's ``Visualizer``. Default: none.
        vis_backends: configs of the backends that store pictures and numbers. Default: none.
        save_dir: work folder; backends write into its subfolder ``vis_data``. Default: none, so
            that only backends with a ``save_dir`` of their own are used.
        representation: config of the representation that made the images (C, H, W). Default: event
            counts, off events in the first half of the channels and on events in the second, as
            ``StackedHistogram`` makes them.

    Raises:
        InputError: a backend needs a package that is not installed.
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: np.ndarray | None = None,
        vis_backends: list[dict] | None = None,
        save_dir: str | None = None,
        representation: dict | None = None,
    ) -> None:
        super().__init__(name, image, vis_backends, save_dir)
        self._shows = build_representation(representation, 2, 2) if representation else None
        self._folder = Path(save_dir or ".")
        self._has_warned = False

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray | Tensor,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> None:
        """Draw one frame; the arguments are those of mmdet's ``DetLocalVisualizer``.

        Args:
            name: name of the picture in the backends, and of the window on the screen.
            image: (C, H, W) image of the representation, or an RGB picture (H, W, 3).
            data_sample: ground truth and detections, in pixels of a frame of size ``img_shape``.
                Default: no boxes.
            draw_gt: whether ground truth is drawn. Default: true.
            draw_pred: whether detections are drawn. Default: true.
            show: whether a window is opened on the screen. Default: false.
            wait_time: seconds until the window closes; 0 waits for a key. Default: 0.
            out_file: PNG file to write; the picture is then not passed to the backends. Default:
                none.
            pred_score_thr: lowest score of a detection that is drawn. Default: 0.3.
            step: training step, or number of the picture, for the backends. Default: 0.
        """
        sample = DetDataSample() if data_sample is None else data_sample
        picture = self._draw(name, image, sample, draw_gt, draw_pred, pred_score_thr)
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, picture, step)
        else:
            from etram_mmdet.visualization.canvas import write_png

            write_png(picture, Path(out_file).with_suffix(".png"))

    @master_only
    def add_config(self, config: Config, **kwargs) -> None:
        """Store the config in every backend; this also starts the backends.

        Args:
            config: config of the run.
            **kwargs: further arguments of mmengine's ``Visualizer.add_config``.

        Raises:
            InputError: a package is not installed, the folder cannot be written, or Weights &
                Biases cannot start.
        """
        try:
            with os_errors(self._folder, "written"):
                super().add_config(config, **kwargs)
        except ImportError as error:
            raise InputError(
                f"visualizer.vis_backends names a backend whose package is not installed. {error}"
            ) from error
        except Exception as error:
            # wandb is optional, so it is not imported for an isinstance
            if type(error).__module__.split(".")[0] != "wandb":
                raise
            raise InputError(
                "visualizer.vis_backends: Weights & Biases cannot start "
                f"({first_line(error):.200}); to use it without an account, set "
                "init_kwargs=dict(mode='offline') of WandbVisBackend"
            ) from error

    @master_only
    def add_scalars(self, *args, **kwargs) -> None:
        """Pass numbers to the backends; one that cannot write costs one warning."""
        with self._without_backends():
            super().add_scalars(*args, **kwargs)

    @master_only
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        """Pass a picture to the backends; one that cannot write costs one warning.

        Args:
            name: name of the picture.
            image: RGB picture (H, W, 3).
            step: training step, or number of the picture. Default: 0.
            **kwargs: further arguments of mmengine's ``Visualizer.add_image``.
        """
        with self._without_backends():
            super().add_image(name, image, step, **kwargs)
            _check_written(self._folder / "vis_data" / "vis_image" / f"{name}_{step}.png")

    @contextmanager
    def _without_backends(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._has_warned:
                reason = because(error, self._folder / "vis_data")
                print_log(
                    f"{self._folder}: numbers and pictures are missing: {reason}",
                    "current",
                    logging.WARNING,
                )
            self._has_warned = True

    def _draw(
        self,
        name: str,
        image: np.ndarray | Tensor,
        sample: DetDataSample,
        draw_gt: bool,
        draw_pred: bool,
        min_score: float,
    ) -> np.ndarray:
        from etram_mmdet.visualization.detection_film import detection_picture

        truth = _sample_boxes(sample, "gt_instances") if draw_gt else Boxes.empty()
        found = _sample_boxes(sample, "pred_instances") if draw_pred else Boxes.empty()
        frame = FrameResult(
            recording=sample.get("recording", name),
            t_us=sample.get("t_us", -1),
            truth=replace(truth, scores=None),
            found=found,
        )
        classes, palette = self._classes([*truth.labels, *found.labels])
        picture = _fitted(self._picture(image), sample.get("img_shape"))
        with_truth = draw_gt and "gt_instances" in sample
        return detection_picture(
            picture, frame, classes, palette, min_score, with_truth, mark_missed=draw_pred
        )

    def _picture(self, image: np.ndarray | Tensor) -> np.ndarray:
        from etram_mmdet.visualization.draw import events_to_rgb, is_picture

        image = image.cpu().numpy() if isinstance(image, Tensor) else image
        if is_picture(image):
            return image.clip(0, 255).astype(np.uint8)
        return events_to_rgb(self._shows.off_on(image) if self._shows else image)

    def _classes(self, labels: list[int]) -> tuple[list[str], list[Colour]]:
        """Class names and colours from ``dataset_meta``; else numbers and default colours."""
        meta = self.dataset_meta or {}
        classes = meta.get("classes") or [f"class {k}" for k in range(max(labels, default=0) + 1)]
        palette = meta.get("palette") or palette_of(len(classes))
        return list(classes), [tuple(palette[k % len(palette)]) for k in range(len(classes))]


def _check_written(picture: Path) -> None:
    """Raise the error of the disk if ``LocalVisBackend`` did not write a picture.

    OpenCV itself raises nothing then. A trial file of `_PROBE_BYTES` makes the system say why.
    """
    if picture.parent.is_dir() and not picture.is_file():
        try:
            picture.write_bytes(bytes(_PROBE_BYTES))
        finally:
            picture.unlink(missing_ok=True)


@register_backend("event_frames", prefixes=SCHEME)
class EventFrameBackend(BaseStorageBackend):
    """Reads the ``img_path`` of an event frame (see `frame_path`) as the bytes of a PNG.

    So mmdet's ``DetVisualizationHook``, ``mmcv.imread`` and everything else that opens images with
    ``mmengine.fileio`` work on event frames.
    """

    def get(self, filepath: str) -> bytes:
        """Read an event frame as the bytes of a PNG.

        Args:
            filepath: ``img_path`` of the frame.
        """
        from etram_mmdet.visualization.canvas import png_bytes
        from etram_mmdet.visualization.draw import events_to_rgb

        return png_bytes(events_to_rgb(read_off_on(filepath)))

    def get_text(self, filepath: str, encoding: str = "utf-8") -> str:
        """Raise an error, since a frame is an image.

        Args:
            filepath: ``img_path`` of the frame.
            encoding: not used.

        Raises:
            InputError: always.
        """
        raise InputError(f"{filepath}: is an image; read it with mmengine.fileio.get")


def _sample_boxes(sample: DetDataSample, key: str) -> Boxes:
    """Boxes of a data sample; boxes without scores get the score 1."""
    if key not in sample:
        return Boxes.empty()
    instances = sample.get(key).cpu()
    bboxes_xyxy = get_box_tensor(instances.bboxes).float().numpy()
    scores = instances.get("scores", torch.ones(len(bboxes_xyxy)))
    return Boxes(bboxes_xyxy, instances.labels.numpy(), scores.float().numpy())


def _fitted(picture: np.ndarray, hw: tuple[int, int] | None) -> np.ndarray:
    """Resize the picture to the frame size of the boxes, if a transform has resized the frame."""
    if hw is None or picture.shape[:2] == tuple(hw):
        return picture
    import cv2

    return cv2.resize(picture, tuple(hw[::-1]), interpolation=cv2.INTER_NEAREST_EXACT)
