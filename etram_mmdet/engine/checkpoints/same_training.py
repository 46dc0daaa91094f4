"""Check that ``--resume`` goes on with the training that the checkpoint comes from.

The rule: model, training data, batches, optimizer, learning rates, seed and hooks that act on the
training are compared. Settings of the machine, speed, memory, logs and evaluation may change. The
length of the training may change if no schedule of the learning rate depends on it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import Runner

from etram_mmdet.datasets.statistics import digest
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.checkpoints.carried_config import carried_by, stored_config
from etram_mmdet.engine.checkpoints.contents import DATA_KEY, PROCESSES_KEY
from etram_mmdet.engine.config.differences import MOST_DIFFERENCES, training_differences
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import shown

_INSTEAD = {
    "train_cfg.max_iters": "the schedule of the learning rate ends with the training, so the "
    "training cannot be prolonged",
    "train_dataloader.batch_size": "for less memory set model.micro_batch, which may change",
    # Version 0.1 left accumulative_counts out of the rule that gives the rate.
    "optim_wrapper.optimizer.lr": "if no other setting causes it: --cfg-options "
    "optim_wrapper.optimizer.lr={old}",
    "optim_wrapper.type": "the precision of a run cannot change: --cfg-options "
    "optim_wrapper.type={old}",
    "randomness.seed": "--cfg-options randomness.seed={old}",
    "digest of the training data": "recordings, frame times, boxes or classes differ",
    "processes": "start the same number: tools/dist_train.sh CONFIG {old} --resume, or "
    "tools/train.py for one",
}


def check_same_training(checkpoint: dict, runner: Runner, path: str | Path) -> None:
    """Refuse to resume a training with settings that make it another training.

    Args:
        checkpoint: from :func:`load_checkpoint_file`.
        runner: the runner of the run that is to go on.
        path: the checkpoint's file, for messages.

    Raises:
        InputError: settings differ; the message names each.
    """
    stored = stored_config(checkpoint, path)
    with carried_by(path):
        found = training_differences(stored, runner.cfg.to_dict(), torch.cuda.is_available())
    found |= _other_facts(checkpoint["meta"], runner, path)
    if not found:
        return
    lines = [
        f"{name}: {shown(old):.200}, now {shown(new):.200}{_instead(name, old)}"
        for name, (old, new) in list(found.items())[:MOST_DIFFERENCES]
    ]
    more = [f"and {len(found) - len(lines)} more settings"] if len(found) > len(lines) else []
    raise InputError(
        "\n  ".join([f"{path}: belongs to a training with other settings:", *lines, *more])
        + "\nTo resume that training, use its settings; the folder of the checkpoint holds its "
        "config. To start another training from its weights, leave --resume out: --cfg-options "
        f"load_from={path}"
    )


def _instead(name: str, old: object) -> str:
    return f" ({_INSTEAD[name].format(old=old)})" if name in _INSTEAD else ""


def _other_facts(meta: dict, runner: Runner, path: str | Path) -> dict[str, tuple]:
    """Differences that no config shows: the drawn seed, the number of processes, and the data."""
    data = digest(as_streams(runner.train_dataloader.dataset))
    if PROCESSES_KEY not in meta:
        print_log(
            f"{path}: was written by a version that kept no digest of the training data; make sure "
            "that data and number of processes are the same",
            "current",
            logging.WARNING,
        )
    is_of_rank = (runner.cfg.get("randomness") or {}).get("diff_rank_seed")
    found = {
        "randomness.seed": (
            meta.get("seed"),
            runner.seed - get_rank() if is_of_rank else runner.seed,
        ),
        "processes": (meta.get(PROCESSES_KEY), get_world_size()),
        "digest of the training data": (meta.get(DATA_KEY), data),
    }
    return {
        name: (old, new) for name, (old, new) in found.items() if old is not None and old != new
    }
