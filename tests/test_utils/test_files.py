"""Atomic file writing, and sentences about the file system."""

from __future__ import annotations

import errno
import os
import resource
from multiprocessing import get_context
from pathlib import Path

import pytest

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import (
    LEFTOVER_S,
    atomic_write,
    because,
    check_writable,
    has_cause,
    os_errors,
    part_of,
    remove_leftovers,
)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as aside:
        aside.write_text("new")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with atomic_write(path) as aside:
        assert aside.suffix == ".txt"  # writers of pictures go by it
        aside.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_sentence_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(
        InputError, match=r"a.txt: cannot be written: the disk is full \([\d,]+ bytes are free in /"
    ):
        with atomic_write(path):
            raise full
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_limit_of_size_is_a_sentence(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match="larger than the limit here; raise the limit"):
            with atomic_write(tmp_path / "a") as aside:
                aside.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_vanishes_is_a_sentence(tmp_path):
    path = tmp_path / "out" / "a"
    with pytest.raises(InputError, match="does not exist"), atomic_write(path) as aside:
        aside.unlink()
        path.parent.rmdir()
        aside.write_text("x")


@pytest.mark.parametrize("name", ["/", "."])
def test_a_path_without_a_name_is_a_sentence(name):
    with (
        pytest.raises(InputError, match="cannot be written: it is a folder; name a file"),
        atomic_write(Path(name)),
    ):
        pass


def test_an_error_about_another_file_stays(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        (tmp_path / "other").read_text()
    with pytest.raises(OSError, match=r"^a damaged frame$"), os_errors(tmp_path / "a", "read"):
        raise OSError("a damaged frame")


def test_a_file_in_the_path_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="is a file"),
        atomic_write(tmp_path / "file" / "folder" / "a"),
    ):
        pass


def test_causes_in_the_text_of_hdf5(tmp_path):
    many = OSError(
        "unable to open file (errno = 24, error message = 'Too many open files', flags = 0)"
    )
    assert because(many, tmp_path).endswith("raise the limit: ulimit -n 4096")
    assert because(OSError("truncated"), tmp_path) == "truncated; check this path"


def test_a_full_memory_is_not_what_a_file_holds():
    assert has_cause(MemoryError("Unable to allocate 1 TiB")) and not has_cause(ValueError("errno"))
    assert because(MemoryError()).startswith("no memory is left; end other programs")


def _begin(path: Path) -> None:
    part_of(path).touch()


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    process = get_context("fork").Process(target=_begin, args=(tmp_path / "a",))
    process.start()
    process.join()
    mine = part_of(tmp_path / "b")
    foreign = tmp_path / ".part~elsewher~1~c"
    fresh = tmp_path / ".part~elsewher~2~c"
    for path in (mine, foreign, fresh):
        path.touch()
    old = foreign.stat().st_mtime - LEFTOVER_S - 1
    os.utime(foreign, (old, old))
    assert remove_leftovers(tmp_path) == 2
    assert set(tmp_path.iterdir()) == {mine, fresh}


def test_the_next_start_clears_away_what_a_killed_process_left(tmp_path):
    process = get_context("fork").Process(target=_begin, args=(tmp_path / "film.mp4",))
    process.start()
    process.join()
    part_of(tmp_path / "own").touch()  # this process may still write it
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(tmp_path / "a.txt") as aside:
        aside.write_text("x")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", part_of(tmp_path / "own").name}


def test_a_full_disk_says_what_is_needed_and_free(tmp_path):
    with pytest.raises(InputError, match=r"12,345 bytes are needed, [\d,]+ bytes are free in /"):
        with atomic_write(tmp_path / "a", 12345):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_hdf5_says_the_number_in_its_text(tmp_path):
    with (
        pytest.raises(InputError, match="a: cannot be written: the disk is full"),
        atomic_write(tmp_path / "a"),
    ):
        raise RuntimeError(
            "Can't decrement id ref count (file write failed: errno = 28, "
            "error message = 'No space')"
        )
    with pytest.raises(RuntimeError, match="a fault"), atomic_write(tmp_path / "a"):
        raise RuntimeError("a fault")


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    check_writable(tmp_path / "new" / "a.json")
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_writable(tmp_path / "file" / "a.json")
