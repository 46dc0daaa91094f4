"""Checkpoints that hold plain values, and stay inside their folder."""

from __future__ import annotations

from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.statistics import digest, frame_step_us, sensor_px
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.checkpoints.contents import (
    DATA_KEY,
    OWN_STATES_KEY,
    PROCESSES_KEY,
    SENSOR_KEY,
    STEP_KEY,
)
from etram_mmdet.engine.checkpoints.files import make_plain
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.utils.errors import InputError


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keeps checkpoints plain, and their paths inside the folder of checkpoints.

    A checkpoint holds nothing that has to be unpickled. The best checkpoint so far, which the next
    better one replaces, is searched for by its name in the folder of checkpoints, because the path
    in a checkpoint may be wrong: it may have been copied, or come from a stranger.

    A checkpoint also holds the time between the ends of two windows of the training data, which is
    the default step of a stream; the size of the sensor; and the facts that ``--resume`` compares:
    a digest of the training data and the number of processes. Runs after every other hook.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.facts: dict[str, int | str | list[int]] = {}

    def before_train(self, runner: Runner) -> None:
        self.facts = _run_facts(runner)
        runner.message_hub.update_info(
            "dataset_meta", _classes(runner.train_dataloader.dataset.metainfo)
        )
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best is not None:
                if len(hook.key_indicators) == 1:
                    hook.best_ckpt_path = _inside(hook.out_dir, hook.best_ckpt_path)
                else:
                    paths = hook.best_ckpt_path_dict
                    hook.best_ckpt_path_dict = {
                        key: _inside(hook.out_dir, path) for key, path in paths.items()
                    }

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        meta = checkpoint["meta"]
        if "dataset_meta" in meta:
            meta["dataset_meta"] = _classes(meta["dataset_meta"])
        meta.update(self.facts)
        if OWN_STATES_KEY in meta:
            checkpoint[OWN_STATES_KEY] = meta.pop(OWN_STATES_KEY)
        make_plain(checkpoint, runner.cfg)


def _run_facts(runner: Runner) -> dict[str, int | str | list[int]]:
    facts = {PROCESSES_KEY: get_world_size()}
    train = as_streams(runner.train_dataloader.dataset)
    if isinstance(train, ETraMDataset):
        facts[DATA_KEY] = digest(train)
        facts |= {STEP_KEY: step_us} if (step_us := frame_step_us(train)) else {}
        facts |= {SENSOR_KEY: list(size)} if (size := sensor_px(train)) else {}
    return facts


def _classes(metainfo: dict) -> dict:
    """Names and colours alone: mmdet's ConcatDataset adds the lengths of its parts."""
    return {key: metainfo[key] for key in ("classes", "palette") if key in metainfo}


def _inside(folder: str, path: str | None) -> str | None:
    """The checkpoint in ``folder`` that has the name of ``path``; None if there is none.

    mmengine removes that file, or unpickles it if ``published_keys`` are set, so it has to be a
    plain checkpoint.
    """
    if path is None:
        return None
    inside = Path(folder) / Path(path).name
    if not inside.is_file():
        return None
    try:
        load_checkpoint_file(inside)
    except (InputError, OSError):
        return None
    return str(inside)
