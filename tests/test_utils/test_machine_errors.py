"""What a machine or another process did is a sentence, and a fault of the program a traceback."""

from __future__ import annotations

import errno
import os
import pickle
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from etram_mmdet.utils import cli
from etram_mmdet.utils.claims import ClaimedError
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.machine_errors import sentence_of

SENTENCE = "a.h5: is damaged\n  at frame 3: KeyError: 'data'; copy it again"


def damaged(index: int) -> None:
    try:
        {}["data"]
    except KeyError as error:
        raise InputError(SENTENCE) from error


def claimed(index: int) -> None:
    raise ClaimedError(SENTENCE, None)


def vanished(index: int) -> None:
    Path("/nowhere/a.h5").read_bytes()


def killed(index: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def faulty(index: int) -> None:
    raise RuntimeError("a fault")


class Data(Dataset):
    def __init__(self, read) -> None:
        self.read = read

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> None:
        return self.read(index)


def loaded(read, workers: int) -> None:
    batches = iter(DataLoader(Data(read), num_workers=workers))
    try:
        list(batches)
    finally:
        if workers:
            batches._shutdown_workers()  # now, not when a later test collects garbage


def told(capsys, read, workers: int) -> str:
    """What a tool prints that loads ``Data(read)``."""
    with pytest.raises(SystemExit) as end, cli.exit_on_input_error():
        loaded(read, workers)
    assert end.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("read", [damaged, claimed, vanished])
def test_loading_processes_tell_the_same_sentence(capsys, read):
    alone = told(capsys, read, 0)
    assert told(capsys, read, 1) == alone
    assert SENTENCE in alone or alone.startswith(
        "error: /nowhere/a.h5: it or its folder does not exist"
    )


def test_an_error_is_its_sentence_for_callers_too():
    with pytest.raises(InputError) as found:
        loaded(damaged, 1)
    assert str(found.value) == SENTENCE and str(pickle.loads(pickle.dumps(found.value))) == SENTENCE


def test_a_killed_loading_process_is_a_sentence(capsys):
    assert "a process that loads data was killed" in told(capsys, killed, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_the_program_keeps_its_traceback(workers):
    with pytest.raises(RuntimeError, match="a fault"), cli.exit_on_input_error():
        loaded(faulty, workers)


@pytest.mark.parametrize(
    "read, says", [(damaged, SENTENCE), (claimed, SENTENCE), (killed, "fewer --workers")]
)
def test_pools_tell_the_sentence(capsys, read, says):
    with (
        pytest.raises(SystemExit),
        cli.exit_on_input_error(),
        ProcessPoolExecutor(1, get_context("fork")) as pool,
    ):
        pool.submit(read, 0).result()
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "error, says",
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/a"), "/tmp/a: the disk is full ("),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "a file cannot be written: the disk is full; make room",
        ),
        (
            OSError(errno.EFBIG, "File too large"),
            "a file cannot be written: the file would be larger than the limit",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/tmp/a"),
            "/tmp/a: the file system can only be read",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/tmp/a"), "/tmp/a: permission denied"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory is left for another process"),
        (
            RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error."),
            "found no room in shared memory",
        ),
        (
            RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"),
            "a checkpoint could not be written",
        ),
    ],
)
def test_what_the_machine_did(error, says):
    assert says in sentence_of(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError("a damaged frame"),
        OSError(errno.EPIPE, "Broken pipe"),
        ValueError("x"),
        RuntimeError("x"),
    ],
)
def test_everything_else_is_a_fault(error):
    assert sentence_of(error) is None
