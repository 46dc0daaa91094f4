"""A checkpoint is removed only when the next one is complete."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmdet.registry import HOOKS
from mmengine.logging import MessageHub

import etram_mmdet.engine.hooks.checkpoint as ours
from etram_mmdet.utils.errors import InputError


class Runner(SimpleNamespace):
    """Writes empty checkpoints, and notes what was there whenever one has been written."""

    def __init__(self, folder, step=0, **info):
        hub = MessageHub("test_checkpoint_hook")
        hub.runtime_info.clear()
        hub.runtime_info.update(info)
        super().__init__(
            work_dir=str(folder),
            _load_from=None,
            iter=step,
            epoch=0,
            message_hub=hub,
            logger=logging.getLogger("hook"),
            seen=[],
        )

    def save_checkpoint(self, folder, filename, *args, **kwargs):
        if filename in getattr(self, "fails", ()):
            raise InputError(f"{filename}: cannot be written: the disk is full")
        (Path(folder) / filename).touch()
        self.seen.append(names(folder))


def names(folder) -> set[str]:
    return {path.name.removesuffix(".pth") for path in Path(folder).glob("*.pth")}


def hook(runner: Runner, **settings) -> ours.CheckpointHook:
    built = HOOKS.build(
        dict(type="CheckpointHook", by_epoch=False, interval=1, rule="greater", **settings)
    )
    built.before_train(runner)
    return built


def step(built: ours.CheckpointHook, runner: Runner, score: float | None = None) -> None:
    """A step with a checkpoint and, with a score, a validation."""
    built.after_train_iter(runner, runner.iter, None, {})
    runner.iter += 1
    if score is not None:
        built.after_val_epoch(runner, dict(a=score, b=-score))


def test_configs_that_name_mmengines_hook_get_ours(tmp_path):
    assert type(hook(Runner(tmp_path))) is ours.CheckpointHook


@pytest.mark.parametrize("kept", [1, 2])
def test_the_last_ones_stay_until_the_next_is_written(kept, tmp_path):
    runner = Runner(tmp_path)
    built = hook(runner, max_keep_ckpts=kept)
    for _ in range(4):
        step(built, runner)
    assert runner.seen[-1] == {f"iter_{number}" for number in range(4 - kept, 5)}
    assert names(tmp_path) == {f"iter_{number}" for number in range(5 - kept, 5)}
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_4.pth")


@pytest.mark.parametrize("metrics", [["a"], ["a", "b"]])
def test_the_best_one_stays_until_the_next_and_its_checkpoint_are_written(metrics, tmp_path):
    runner = Runner(tmp_path)
    built = hook(runner, save_best=metrics, max_keep_ckpts=1)
    for score in (0.1, 0.3, 0.2):
        step(built, runner, score)
    best = {"best_a_iter_2"} | ({"best_b_iter_1"} if "b" in metrics else set())
    assert names(tmp_path) == {"iter_3", *best}
    written = [there for there in runner.seen if "best_a_iter_2" in there]
    assert all(
        "best_a_iter_1" in there for there in written[:2]
    )  # its own writing, and that of iter_2 which names it
    assert "best_a_iter_1" not in written[2]


@pytest.mark.parametrize("fails", ["iter_2.pth", "best_a_iter_2.pth"])
def test_a_full_disk_leaves_what_was_there(fails, tmp_path):
    runner = Runner(tmp_path)
    runner.fails = [fails]
    built = hook(runner, save_best="a", max_keep_ckpts=1)
    step(built, runner, 0.1)
    with pytest.raises(InputError):
        step(built, runner, 0.2)
    assert "best_a_iter_1" in names(tmp_path) and names(tmp_path) & {"iter_1", "iter_2"}
    assert (tmp_path / "last_checkpoint").read_text() in [
        str(tmp_path / f"{name}.pth") for name in names(tmp_path)
    ]


def test_the_next_start_removes_what_a_kill_left(tmp_path, monkeypatch):
    """Killed after the new checkpoint had its name and before the old one was removed."""
    runner = Runner(tmp_path)
    built = hook(runner, max_keep_ckpts=1)
    step(built, runner)
    monkeypatch.setattr(ours, "_remove", lambda paths: None)
    step(built, runner)
    monkeypatch.undo()
    assert names(tmp_path) == {"iter_1", "iter_2"}
    hook(Runner(tmp_path, step=2, **runner.message_hub.runtime_info), max_keep_ckpts=1)
    assert names(tmp_path) == {"iter_2"}


def test_a_validation_repeated_on_resuming_is_kept_in_its_checkpoint(tmp_path):
    """So the next start knows the best one, even if this run ends before its next checkpoint."""
    runner = Runner(tmp_path, step=2)
    built = hook(runner, save_best="a")
    built.after_val_epoch(runner, dict(a=0.5))
    assert names(tmp_path) == {"iter_2", "best_a_iter_2"}


def test_a_validation_before_the_first_checkpoint_has_one(tmp_path):
    """Without it a run that is killed then would start again under another number.

    The row of the first start would stay in the table.
    """
    runner = Runner(tmp_path)
    built = hook(runner, save_best="a")
    runner.iter = 3
    built.after_val_epoch(runner, dict(a=0.5))
    assert names(tmp_path) == {"iter_3", "best_a_iter_3"}


def test_a_best_one_that_is_found_again_stays(tmp_path):
    """The score of the same step may be a little better: sums on a GPU are not reproducible."""
    runner = Runner(tmp_path, step=2)
    built = hook(runner, save_best="a")
    for score in (0.5, 0.6):
        built.after_val_epoch(runner, dict(a=score))
    assert "best_a_iter_2" in names(tmp_path)


@pytest.mark.parametrize(("folder", "written"), [("here", 0), ("elsewhere", 1)])
def test_a_checkpoint_that_is_there_is_not_saved_again(folder, written, tmp_path):
    """The checkpoint that is resumed from exists already, unless it is in another folder."""
    runner = Runner(tmp_path / "here", step=2)
    (tmp_path / "here").mkdir()
    runner._load_from = str(tmp_path / folder / "iter_2.pth")
    built = hook(runner)
    built.save(runner, 2)
    assert len(runner.seen) == written
    built.save(runner, 3)
    built.save(runner, 3)
    assert len(runner.seen) == written + 1
