"""mmengine's ``CheckpointHook``, which removes a checkpoint only when the next is on the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import checkpoint_hook
from mmengine.runner import Runner

from etram_mmdet.utils.files import atomic_write, os_errors


@HOOKS.register_module()
class CheckpointHook(checkpoint_hook.CheckpointHook):
    """mmengine's ``CheckpointHook``; a kill or a full disk leaves the earlier checkpoints intact.

    It has mmengine's name, so that every config uses it. The order is: write, wait until the file
    is on the disk, rename, write the name into ``last_checkpoint``, remove the checkpoints that it
    replaces. So the disk needs room for one checkpoint more than is kept. A checkpoint lists all
    that existed when it was written (``keep_ckpt_ids``), so the next start removes files that a
    kill left behind.
    """

    saved_step = 0  # of the newest checkpoint in the folder; 0 while this run has none there

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        # With `last_ckpt` set, mmengine writes a checkpoint after each new best one, and that
        # checkpoint names the best. Set here, this also holds in a validation that resuming
        # repeats, and in one before the first checkpoint. A run that is killed after such a
        # validation can be resumed. Without a checkpoint it would start again under another
        # number, and `results.csv` would keep the row of the first start.
        self.last_ckpt = self._path_of(runner.iter)
        self.saved_step = runner.iter if _is_same(self.last_ckpt, runner._load_from) else 0

    def save(self, runner: Runner, step: int) -> None:
        """Save a checkpoint unless it is there; ``step`` is the number of steps that were done."""
        if self.saved_step != step:
            self._save_checkpoint_with_step(runner, step, meta=dict(epoch=runner.epoch, iter=step))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self.last_ckpt = self._path_of(step)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        outdated = self._count_in(runner, step)
        runner.save_checkpoint(
            self.out_dir,
            Path(self.last_ckpt).name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            with atomic_write(Path(runner.work_dir) / "last_checkpoint") as aside:
                aside.write_text(self.last_ckpt)
        self.saved_step = step
        _remove(map(self._path_of, outdated))

    def _path_of(self, step: int) -> str:
        return str(Path(self.out_dir) / self.filename_tmpl.format(step))

    def _count_in(self, runner: Runner, step: int) -> list[int]:
        """Note the checkpoint of ``step``; return the steps of checkpoints that it replaces."""
        if self.max_keep_ckpts <= 0:
            return []
        steps = [*(each for each in self.keep_ckpt_ids if each != step), step]
        runner.message_hub.update_info("keep_ckpt_ids", steps)
        self.keep_ckpt_ids = deque(steps, self.max_keep_ckpts)
        return steps[: -self.max_keep_ckpts]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """mmengine's method, with the earlier best hidden, which it would remove first."""
        if not self.save_best:
            return
        before = self._best
        self._best = dict.fromkeys(before)
        super()._save_best_checkpoint(runner, metrics)
        self._best = {key: path or before[key] for key, path in self._best.items()}
        names = {Path(path).name for path in self._best.values() if path}
        _remove(path for path in before.values() if path and Path(path).name not in names)

    @property
    def _best(self) -> dict[str, str | None]:
        """Path of the best checkpoint so far by each metric of ``save_best``."""
        is_single = len(self.key_indicators) == 1
        return {"": self.best_ckpt_path} if is_single else dict(self.best_ckpt_path_dict)

    @_best.setter
    def _best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths[""]
        else:
            self.best_ckpt_path_dict = paths


def _is_same(one: str, other: str | None) -> bool:
    return other is not None and Path(one).resolve() == Path(other).resolve()


def _remove(paths: Iterable[str]) -> None:
    if is_main_process():
        for path in map(Path, paths):
            with os_errors(path, "removed"):
                path.unlink(missing_ok=True)
