"""Pictures of every evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import mmcv
import numpy as np
from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.statistics import digest
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.config.test_options import tta_of
from etram_mmdet.engine.hooks.run_record import measured_with, run_id
from etram_mmdet.evaluation.breakdown_table import as_dict
from etram_mmdet.evaluation.evaluate import Headline
from etram_mmdet.evaluation.event_coco_metric import find_metric
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.evaluation.results_table import evaluations
from etram_mmdet.utils.files import write_json
from etram_mmdet.utils.machine_errors import sentence_of
from etram_mmdet.visualization.detection_film import (
    detection_film,
    readable_score,
    with_events,
    write_film,
)
from etram_mmdet.visualization.figures.evaluation import draw_evaluation
from etram_mmdet.visualization.figures.training import Sums, draw_training
from etram_mmdet.visualization.index_page import INDEX_FILE, write_index

FILM_FRAMES = 300


@HOOKS.register_module()
class EvaluationReportHook(Hook):
    """Writes pictures, numbers and a film of every evaluation into the work folder.

    A validation writes ``SPLIT_STEP.png``, ``.json`` and ``.mp4``, and ``results.png``. A test
    writes ``tested_SPLIT_STEP`` (with ``--tta`` ``tested_SPLIT_tta_STEP``) and leaves the files of
    validations alone. A training without validation leaves ``results.png``.

    The page (``.png``) shows precision and recall, F1, confusions and sizes. The JSON holds the
    breakdown of the headline protocol. The film shows the recording with most boxes, at most
    `FILM_FRAMES` of its frames. ``results.png`` shows losses and AP so far. The visualizer gets the
    same pictures as ``SPLIT_evaluation`` and ``training``, and from the film the frame with most
    boxes as ``SPLIT_film``. If a picture cannot be drawn, a warning is logged and the training goes
    on.

    Args:
        film: whether the film is written. Default: yes.
    """

    priority = "LOW"
    loaded_step = 0  # training step of the checkpoint that was loaded last

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.loaded_step = checkpoint.get("meta", {}).get("iter", 0)

    def __init__(self, film: bool = True) -> None:
        self.film = film

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        dataset = as_streams(runner.val_dataloader.dataset)
        self._report(
            runner,
            runner.val_evaluator,
            dataset,
            runner.iter,
            f"{dataset.split}_{runner.iter}",
            metrics,
        )

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        dataset = as_streams(runner.test_dataloader.dataset)
        step = self.loaded_step
        name = f"tested_{dataset.split}_tta" if tta_of(runner.cfg) else f"tested_{dataset.split}"
        self._report(runner, runner.test_evaluator, dataset, step, f"{name}_{step}")

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the index page; draw the losses of a training that never validates."""
        loop = runner.train_loop
        folder = Path(runner.work_dir)
        self._index(runner)
        if runner.val_loop is not None and loop.val_begin <= loop.max_iters:
            return
        heading = f"{folder.resolve().name}, training up to step {runner.iter}"
        with _without_pictures(
            runner, "no picture of the losses; checkpoints and log are complete"
        ):
            draw_training(_losses_so_far(runner), [], "", heading, folder / "results.png")
            _show(runner, "training", folder / "results.png", runner.iter)

    @master_only
    def after_test(self, runner: Runner) -> None:
        """Write the index page again when all files of a test are written."""
        self._index(runner)

    def _index(self, runner: Runner) -> None:
        with _without_pictures(runner, f"no {INDEX_FILE}; all other files are complete"):
            write_index(Path(runner.work_dir))

    @master_only
    def _report(
        self,
        runner: Runner,
        evaluator: Evaluator,
        dataset: Dataset,
        step: int,
        stem: str,
        metrics: dict | None = None,
    ) -> None:
        metric = find_metric(evaluator)
        if metric is None or metric.headline is None:
            return
        with _without_pictures(
            runner,
            f"no pictures of the evaluation at step {step}; the numbers above are complete",
        ):
            self._write(runner, metric.headline, dataset, step, stem, metrics or {})

    def _write(
        self,
        runner: Runner,
        headline: Headline,
        dataset: Dataset,
        step: int,
        stem: str,
        metrics: dict,
    ) -> None:
        folder = Path(runner.work_dir)
        heading = f"{folder.resolve().name}, {dataset.split} at step {step}   {headline.protocol}"
        write_json(
            folder / f"{stem}.json",
            dict(protocol=str(headline.protocol), **as_dict(headline.breakdown)),
        )
        # a single one where classes do not matter
        palette = dataset.metainfo["palette"][: len(headline.classes)]
        score_thr = draw_evaluation(
            headline.columns, headline.classes, palette, heading, folder / f"{stem}.png"
        )
        written = [f"{stem}.json", f"{stem}.png"]
        prefix = stem.removesuffix(str(step))
        _show(runner, f"{prefix}evaluation", folder / f"{stem}.png", step)
        if runner.cfg.get("train_cfg"):
            origin = dict(
                run=run_id(runner),
                test_cfg=measured_with(runner.cfg),
                val_data=dict(sha256=digest(dataset)),
            )
            rows = evaluations(folder / "results.csv", dataset.split, origin)
            # resumed from an earlier step: none of the future
            rows = [row for row in rows if int(row["step"]) < step]
            # which gets its row when its pictures are there
            rows.append(dict(step=step, **metrics))
            draw_training(
                _losses_so_far(runner),
                rows,
                headline.protocol.name,
                heading,
                folder / "results.png",
            )
            written.append("results.png")
            _show(runner, "training", folder / "results.png", step)
        if self.film and isinstance(dataset, ETraMDataset):
            frames = _busiest(headline.columns)
            shown = headline.classes, palette, readable_score(frames, score_thr)
            codec = write_film(folder / f"{stem}.mp4", dataset, frames, *shown)
            written.append(f"{stem}.mp4 ({codec})")
            still = with_events(dataset, [max(frames, key=_boxes)])
            _show(runner, f"{prefix}film", next(detection_film(still, *shown)), step)
        write_index(folder)
        runner.logger.info(f"{folder}: {', '.join(written)}; {INDEX_FILE} says which file is what")


@contextmanager
def _without_pictures(runner: Runner, what_stands: str) -> Iterator[None]:
    """Turn an error of a picture into a warning: its reason, or the traceback of a fault."""
    try:
        yield
    except Exception as error:
        reason = sentence_of(error)
        if reason is None:
            runner.logger.exception(what_stands)
        else:
            runner.logger.warning(f"{what_stands}. {reason}")


def _losses_so_far(runner: Runner) -> dict[str, Sums]:
    """Every loss so far, and the number of steps behind each value.

    A resumed run has those from before, too.
    """
    histories = runner.message_hub.log_scalars
    names = [name for name in histories if name.startswith("train/") and "loss" in name]
    return {name.removeprefix("train/"): histories[name].data for name in names}


def _busiest(columns: FrameColumns) -> list[FrameResult]:
    """The first `FILM_FRAMES` frames of the recording with most boxes."""
    boxes = np.bincount(columns.recordings, columns.truth.counts)
    frames = columns.of_recording(columns.names[boxes.argmax()])
    return list(islice(frames.each(), FILM_FRAMES))


def _boxes(frame: FrameResult) -> int:
    return len(frame.truth)


def _show(runner: Runner, name: str, picture: Path | np.ndarray, step: int) -> None:
    """Hand a picture, or a PNG file that was just written, to the backends of the visualizer."""
    image = mmcv.imread(picture, channel_order="rgb") if isinstance(picture, Path) else picture
    runner.visualizer.add_image(name, image, step)
