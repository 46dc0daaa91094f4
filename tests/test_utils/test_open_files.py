from __future__ import annotations

import gc
import os
import resource
import weakref

from etram_mmdet.utils.open_files import OpenFiles


class Owner:
    """Something that has a file, which counts how often it was opened."""

    opened = 0

    def open_file(self):
        self.opened += 1
        return open(os.devnull)


def test_the_file_that_was_used_least_recently_is_closed():
    files = OpenFiles(most=2)
    a, b, c = Owner(), Owner(), Owner()
    first, second = (files.of(owner, owner.open_file) for owner in (a, b))
    assert files.of(a, a.open_file) is first
    files.of(c, c.open_file)
    assert second.closed and not first.closed
    assert files.of(a, a.open_file) is first and not files.of(b, b.open_file).closed
    assert (a.opened, b.opened, c.opened) == (1, 2, 1)


def test_files_are_closed_with_their_owner_and_on_request():
    files = OpenFiles()
    owner = Owner()
    file = files.of(owner, owner.open_file)
    files.close(owner)
    files.close(owner)
    assert file.closed
    kept = weakref.ref(files.of(owner, owner.open_file))
    assert kept() is not None
    del owner, file
    gc.collect()
    assert kept() is None, "a file that is freed is closed"


def test_a_quarter_of_the_limit_is_used():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    owners = [Owner() for _ in range(20)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, hard))
        files = OpenFiles()
        opened = [files.of(owner, owner.open_file) for owner in owners]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [file.closed for file in opened] == [True] * 8 + [False] * 12


def test_a_forked_process_opens_its_own():
    files = OpenFiles()
    owner = Owner()
    file = files.of(owner, owner.open_file)
    pid = os.fork()
    if not pid:
        own = files.of(owner, owner.open_file)
        os._exit(
            0 if own is not file and file.closed and files.of(owner, owner.open_file) is own else 1
        )
    assert os.waitpid(pid, 0)[1] == 0
    assert files.of(owner, owner.open_file) is file and not file.closed
