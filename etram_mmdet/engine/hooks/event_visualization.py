"""Pictures of event frames with ground truth and detections."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.dist import master_only
from mmengine.runner import Runner

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.evaluation.event_coco_metric import find_metric
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.machine_errors import sentence_of


@HOOKS.register_module()
class EventVisualizationHook(DetVisualizationHook):
    """mmdet's ``DetVisualizationHook`` for streams: a test draws labelled frames, not all of them.

    In validation the first frame of every ``interval``-th batch goes to the ``vis_backends`` as
    ``val_img``. In a test every ``interval``-th labelled frame of each recording is written to
    ``test_out_dir``, as ``RECORDING_TIMEus.png``; without that folder it goes to the
    ``vis_backends`` as ``test_img``. Pictures are written one by one, so that a test that is
    stopped leaves whole files. If a picture cannot be written, the evaluation goes on without
    further pictures, and ``failure`` holds the reason.

    Args:
        draw: whether to draw at all. Default: no.
        interval: batches (validation) or labelled frames (test) per picture. Default: 50.
        score_thr: least score of a detection that is drawn. Default: 0.3.
        show: open a window for each picture. Default: no.
        wait_time: seconds for which a window stays. Default: 0, until a key is pressed.
        test_out_dir: folder of a test's pictures, in a folder of its own inside the work folder
            unless absolute. Default: the backends get them.
        backend_args: settings of mmengine's file reader. Default: none.
        films: whether a test also writes one ``RECORDING.mp4`` for each recording. Default: no.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        score_thr: float = 0.3,
        show: bool = False,
        wait_time: float = 0.0,
        test_out_dir: str | None = None,
        backend_args: dict | None = None,
        films: bool = False,
    ) -> None:
        super().__init__(draw, interval, score_thr, show, wait_time, test_out_dir, backend_args)
        self.films = films
        self.failure: str | None = None
        self._labelled_frames: Counter[str] = Counter()

    def before_test(self, runner: Runner) -> None:
        """Make the folder absolute: the base class nests a relative one again with every batch."""
        if self.test_out_dir is not None:
            inside = os.path.join(runner.work_dir, runner.timestamp, self.test_out_dir)
            self.test_out_dir = os.path.abspath(inside)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        drawn = [frame for frame in outputs if self._is_next(frame)]
        with self._evaluating_on(runner):
            super().after_test_iter(runner, batch_idx, data_batch, drawn)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        with self._evaluating_on(runner):
            super().after_val_iter(runner, batch_idx, data_batch, outputs)

    @contextmanager
    def _evaluating_on(self, runner: Runner) -> Iterator[None]:
        """Stop drawing if a picture cannot be written, and let the evaluation go on."""
        try:
            yield
        except (InputError, OSError) as error:
            reason = sentence_of(error)
            if reason is None:
                raise
            self.draw = False
            self.failure = f"pictures are missing: {reason}"
            runner.logger.warning(self.failure)

    def _is_next(self, frame: DetDataSample) -> bool:
        if not frame.get("is_labelled", True):  # the placeholder of a batch without labels
            return False
        recording = frame.get("recording", "")
        self._labelled_frames[recording] += 1
        return (self._labelled_frames[recording] - 1) % self.interval == 0

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        metric = find_metric(runner.test_evaluator)
        dataset = as_streams(runner.test_dataloader.dataset)
        if not (self.draw and self.films and metric and isinstance(dataset, ETraMDataset)):
            return
        from etram_mmdet.visualization.detection_film import write_film

        classes, palette = dataset.metainfo["classes"], dataset.metainfo["palette"]
        folder = Path(self.test_out_dir or runner.work_dir)
        for sequence in dataset.sequences:
            frames = metric.columns.of_recording(sequence.name).frames()
            if frames:
                path = folder / f"{sequence.name}.mp4"
                with self._evaluating_on(runner):
                    write_film(path, dataset, frames, classes, palette, self.score_thr)


def check_pictures(runner: Runner) -> None:
    """Raise an error after a test that could not write its pictures; its numbers are complete.

    Args:
        runner: of the test.

    Raises:
        InputError: a picture could not be written.
    """
    for hook in runner.hooks:
        if isinstance(hook, EventVisualizationHook) and hook.failure is not None:
            raise InputError(hook.failure)
