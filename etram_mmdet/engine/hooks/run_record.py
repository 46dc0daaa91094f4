"""Facts of a training run that a comparison of its numbers with others needs."""

from __future__ import annotations

import uuid
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from etram_mmdet.datasets.statistics import fingerprint
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.config.test_options import tta_of
from etram_mmdet.evaluation.event_coco_metric import find_metric
from etram_mmdet.utils.environment import commit, machine
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import write_json
from etram_mmdet.utils.json_files import read_json

RUN_FILE = "run.json"


def run_record(runner: Runner) -> dict:
    """Facts of a training run for ``run.json``.

    These are first step, samples, schedule, data, post-processing, protocol, seed, machine and
    commit.

    Args:
        runner: the runner of the training.
    """
    cfg = runner.cfg
    batch = cfg.train_dataloader.batch_size * get_world_size()
    steps = runner.train_loop.max_iters
    train = as_streams(runner.train_dataloader.dataset)
    val = runner.val_loop if cfg.get("val_cfg") else None
    metric = find_metric(val.evaluator) if val else None
    return dict(
        run=run_id(runner),
        from_step=runner.iter,
        steps=steps,
        batch=batch,
        samples=steps * batch,
        clip_length=train.clip_length,
        base_lr=cfg.get("base_lr"),
        lr=cfg.optim_wrapper.optimizer.get("lr"),
        schedule=schedule(cfg),
        seed=runner.seed,
        train_data=fingerprint(train),
        val_data=fingerprint(as_streams(val.dataloader.dataset)) if val else None,
        protocol="; ".join(map(str, metric.protocols)) if metric else None,
        test_cfg=measured_with(cfg),
        parameters=sum(p.numel() for p in runner.model.parameters()),
        machine=machine(next(runner.model.parameters()).device),
        commit=commit(),
    )


def run_id(runner: Runner) -> str:
    """Identifier of the training that the weights come from; empty if it has none.

    It is drawn at random when a training starts, and kept in its checkpoints.

    Args:
        runner: the runner of a training or a test.
    """
    return runner.message_hub.runtime_info.get("run", "")


def measured_with(cfg: Config) -> dict:
    """The post-processing of a measurement, with ``tta`` if it used test-time augmentation.

    Operating points are used in deployment only and are left out.

    Args:
        cfg: the config of the run.
    """
    test_cfg = (cfg.model.get("test_cfg") or ConfigDict()).to_dict()
    measured = {key: value for key, value in test_cfg.items() if key != "operating_points"}
    return measured | (dict(tta=tta_of(cfg)) if tta_of(cfg) else {})


def schedule(cfg: Config) -> dict:
    """Optimizer, clipping, precision and schedules of a training.

    Numbers that follow from the batch size are left out.

    Args:
        cfg: the config of the run.
    """
    wrapper = cfg.optim_wrapper.to_dict()
    wrapper["optimizer"].pop("lr", None)
    courses = [dict(course) for course in cfg.get("param_scheduler") or []]
    return dict(
        **wrapper,
        param_scheduler=[
            {k: v for k, v in c.items() if k not in ("eta_max", "total_steps")} for c in courses
        ],
    )


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Writes :func:`run_record` to ``run.json`` in the work folder when training starts.

    It also gives the run its identifier (:func:`run_id`). A resumed run keeps the records of its
    earlier starts as ``earlier_starts``, the first one first.
    """

    @master_only
    def before_train(self, runner: Runner) -> None:
        if not run_id(runner):  # a resumed run keeps the one in its checkpoint
            runner.message_hub.update_info("run", uuid.uuid4().hex[:12])
        path = Path(runner.work_dir) / RUN_FILE
        record = run_record(runner)
        write_json(path, record | dict(earlier_starts=_earlier_starts(path, record["run"])))


def _earlier_starts(path: Path, run: str) -> list[dict]:
    """Records of the earlier starts of this run; none if the file is damaged or of another run."""
    try:
        last = read_json(path, "")
    except InputError:
        return []
    if not isinstance(last, dict) or last.get("run") != run:
        return []
    before = last.pop("earlier_starts", [])
    return [*before, last]
