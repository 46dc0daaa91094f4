"""mmengine's runner with checkpoints that carry their config, load strictly and execute nothing."""

from __future__ import annotations

import os
from pathlib import Path

from mmdet.registry import RUNNERS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from torch.utils.data import Dataset

from etram_mmdet.engine.checkpoint import load_checkpoint_file, restore_histories, stored_config
from etram_mmdet.engine.class_names import check_checkpoint_classes
from etram_mmdet.engine.hooks import PlainCheckpointHook
from etram_mmdet.engine.resolve import check_classes, check_same_classes, resolve, start_processes
from etram_mmdet.engine.run_summary import differences_to_parent
from etram_mmdet.events.errors import InputError
from etram_mmdet.models.fit_to_data import fit_to_data


@RUNNERS.register_module()
class StreamRunner(Runner):
    """See the module; everything else is :class:`mmengine.runner.Runner`.

    ``loaded_step`` is the training step of the checkpoint that was loaded last, 0 without one. ``differences`` are
    those of the config to its parents, ``notes`` what was decided for it at the start, a sentence each.
    """

    loaded_step = 0
    checked: Dataset | None = None
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_cfg(cls, cfg: Config) -> StreamRunner:
        device = get_device()
        start_processes(cfg, device)
        differences = differences_to_parent(cfg)
        notes = resolve(cfg, device)
        runner = super().from_cfg(cfg)
        runner.differences, runner.notes = tuple(differences), tuple(notes)
        runner.register_hook(PlainCheckpointHook())
        for note in notes:
            runner.logger.info(note)
        return runner

    def build_train_loop(self, loop: dict) -> BaseLoop:
        return self._checked(super().build_train_loop(loop))

    def build_val_loop(self, loop: dict) -> BaseLoop:
        return self._checked(super().build_val_loop(loop))

    def build_test_loop(self, loop: dict) -> BaseLoop:
        return self._checked(super().build_test_loop(loop))

    def _checked(self, loop: BaseLoop) -> BaseLoop:
        dataset = loop.dataloader.dataset
        check_classes(self.model, dataset)
        check_same_classes(self.checked, dataset)
        self.checked = dataset
        return loop

    def dump_config(self) -> None:
        """Keep the config of a training run beside its checkpoints; a test of one of them must not replace it."""
        if self._train_loop is not None:
            super().dump_config()

    def load_or_resume(self) -> None:
        """Raises ``InputError`` where mmengine would start from scratch: ``resume`` without a checkpoint."""
        if self._resume and self._load_from is None:
            self._load_from = latest_checkpoint(self.work_dir)
        super().load_or_resume()
        if isinstance(self._train_loop, BaseLoop):  # after loading: weights may come from a training on other data
            for note in fit_to_data(self.model, self.train_dataloader.dataset):
                self.logger.info(note)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Raises ``InputError`` where resuming would silently become another training: see the messages."""
        content = load_checkpoint_file(filename)
        if not {"optimizer", "param_schedulers", "message_hub"} <= set(content):
            raise InputError(
                f"{filename}: holds weights only (a best or converted checkpoint), so there is nothing to resume; "
                f"start a new run from it with --cfg-options load_from={filename}"
            )
        steps, planned = self.train_loop.max_iters, stored_config(content, filename)["train_cfg"]["max_iters"]
        if steps != planned:
            raise InputError(
                f"{filename}: belongs to a schedule of {planned} steps, the config asks for {steps}; resume with "
                f"train_cfg.max_iters={planned}, or start a new run with --cfg-options load_from={filename}"
            )
        super().resume(filename, *args, **kwargs)

    def load_checkpoint(self, filename: str, map_location: str = "cpu", strict: bool = True, revise_keys=None) -> dict:
        """Load weights; raises ``InputError`` naming the first tensors that do not fit, and then loads nothing."""
        checkpoint = load_checkpoint_file(filename, map_location)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        check_checkpoint_classes(checkpoint, self.cfg, filename)
        load_strictly(self.model, checkpoint["state_dict"], filename)
        restore_histories(checkpoint)
        self.loaded_step = checkpoint.get("meta", {}).get("iter", 0)
        if self._train_loop is None:  # evaluations are of the run that trained these weights
            logged = checkpoint.get("message_hub", {}).get("runtime_info", {})
            self.message_hub.update_info("run", logged.get("run", ""))
        self._has_loaded = True
        self.logger.info(f"Loaded {filename}")
        return checkpoint

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write under a temporary name and rename, so that a kill never leaves half a checkpoint."""
        super().save_checkpoint(out_dir, f"{filename}.part", *args, **kwargs)
        os.replace(Path(out_dir) / f"{filename}.part", Path(out_dir) / filename)


def latest_checkpoint(work_dir: str | Path) -> str:
    """The one named in ``last_checkpoint``; where a kill lost that file, the newest that is left.

    Raises ``InputError`` where there is none.
    """
    latest = find_latest_checkpoint(work_dir)
    if latest is not None and Path(latest).is_file():
        return latest
    left = sorted(Path(work_dir).glob("iter_*.pth"), key=lambda p: int(p.stem.removeprefix("iter_")))
    if not left:
        raise InputError(f"{work_dir}: holds no checkpoint to resume from; leave --resume out to start afresh")
    return str(left[-1])


def load_strictly(model, weights: dict, source: str) -> None:
    """``load_state_dict`` whose error is one sentence; nothing is loaded unless everything fits."""
    model = model.module if is_model_wrapper(model) else model
    own = model.state_dict()
    wrong = [f"missing {k}" for k in own if k not in weights] + [f"unexpected {k}" for k in weights if k not in own]
    wrong += [
        f"{k} is {tuple(weights[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    if wrong:
        raise InputError(
            f"{source}: does not fit the model, {len(wrong)} of {len(own)} tensors differ: {'; '.join(wrong[:3])}"
            f"{'; ...' if len(wrong) > 3 else ''}. Test it with the config that it carries: tools/test.py {source}"
        )
    model.load_state_dict(weights)
