"""Which checkpoint of a work folder is the newest, and which is intact."""

from __future__ import annotations

import shutil

import pytest

from etram_mmdet.engine.checkpoints import resumable
from etram_mmdet.engine.checkpoints.folder import checkpoint_file, checkpoints_in
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.resumable import latest_checkpoint
from etram_mmdet.utils.errors import InputError

DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "zeros in the middle": lambda content: content[:-20_000] + bytes(4096) + content[-15_904:],
}


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of a training's folder, with files beside its checkpoints that are none of them."""
    for name in ("iter_2.pth", "iter_4.pth", "last_checkpoint"):
        shutil.copy(trained[0] / name, tmp_path)
    for odd in (
        "iter_2_backup.pth",
        "iter_x.pth",
        "iter_.pth",
        "iter_9.pth.old",
        "best_coco_AP_iter_9.pth",
    ):
        (tmp_path / odd).write_bytes(b"odd")
    (tmp_path / "iter_99.pth").mkdir()
    return tmp_path


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_newest_intact_one_is_taken_and_the_log_says_so(kind, folder, monkeypatch):
    said = []
    monkeypatch.setattr(resumable, "print_log", lambda text, *rest: said.append(text))
    assert latest_checkpoint(folder) == str(folder / "iter_4.pth") and not said
    (folder / "iter_4.pth").write_bytes(DAMAGE[kind]((folder / "iter_4.pth").read_bytes()))
    assert latest_checkpoint(folder) == str(folder / "iter_2.pth")
    assert said[0].startswith(f"skipped a damaged checkpoint: {folder / 'iter_4.pth'}: not a")
    assert said[1] == f"resuming from {folder / 'iter_2.pth'}, the newest intact checkpoint"


def test_an_absent_one_is_no_obstacle(folder):
    (folder / "iter_4.pth").unlink()
    assert latest_checkpoint(folder) == str(folder / "iter_2.pth")
    (folder / "last_checkpoint").write_bytes(bytes(20))
    assert latest_checkpoint(folder) == str(folder / "iter_2.pth")
    (folder / "last_checkpoint").write_text("x" * 5000)
    assert latest_checkpoint(folder) == str(folder / "iter_2.pth")


def test_without_an_intact_one_all_are_named(folder):
    for name in ("iter_2.pth", "iter_4.pth"):
        (folder / name).write_bytes(b"")
    with pytest.raises(
        InputError,
        match=r"no intact checkpoint(?s:.*)iter_4\.pth: not a readable(?s:.*)iter_2\.pth: not",
    ):
        latest_checkpoint(folder)


def test_a_work_folder_stands_for_its_newest_checkpoint(folder):
    assert checkpoints_in(folder) == [folder / "iter_4.pth", folder / "iter_2.pth"]
    assert checkpoint_file(folder) == folder / "iter_4.pth"
    assert load_checkpoint_file(folder)["meta"]["iter"] == 4
    with pytest.raises(InputError, match="holds no checkpoint; name the work folder"):
        checkpoint_file(folder / "iter_99.pth")
