"""Real processes that get signals from outside, with loading processes in the same group."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from torch import distributed as dist
from torch.utils.data import DataLoader, Dataset

from etram_mmdet.engine.runner.signals import SAME_REQUEST_S, StopSignals, exit_status, shield
from tests.helpers.tool_process import start

WAIT_S = 60


def steps(folder: str) -> None:
    """Run steps until a signal asks to end; then exit with the status of that signal."""
    with StopSignals() as signals:
        Path(folder, "ready").touch()
        while not signals.agreed():
            time.sleep(0.01)
        time.sleep(0.5)  # the end of the step
        os._exit(exit_status(signals.requested))


def one_long_step(folder: str) -> None:
    """Run one long call, during which Python runs no signal handler."""
    with StopSignals():
        Path(folder, "ready").touch()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


class Numbers(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        time.sleep(0.05)
        return index


def loader() -> DataLoader:
    return DataLoader(
        Numbers(), batch_size=1, num_workers=2, multiprocessing_context="fork"
    )  # as in a training


def batches(folder: str, is_shielded: bool) -> None:
    """A group with two loading processes that is signalled at its third batch."""
    os.setpgrp()
    with StopSignals() as signals:
        seen = 0
        for batch in shield(loader()) if is_shielded else loader():
            seen += len(batch)
            while seen == 3 and not signals.requested:
                Path(folder, "ready").touch()
                time.sleep(0.01)
        Path(folder, "seen").write_text(str(seen))
        os._exit(exit_status(signals.requested))


def leave(folder: str) -> None:
    """Exit in the middle of loading."""
    global left
    left = iter(shield(loader()))
    next(left)
    raise SystemExit(7)


def steps_together(folder: str, rank: int) -> None:
    """One of two processes of a training; writes the step after which it ended."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    step = 0
    with StopSignals() as signals:
        while not (number := signals.agreed()):
            step += 1
            if step == 10:
                Path(folder, f"ready{rank}").touch()
        Path(folder, f"ended{rank}").write_text(str(step))
        signals.wait_for_others()
    raise SystemExit(exit_status(number))


def wait_for(path: Path) -> None:
    end = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


def status(process) -> int:
    process.join(WAIT_S)
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_the_first_signal_asks(number, code, tmp_path):
    """A launcher may pass the signal on as another one; that counts as the same request."""
    process = start(steps, str(tmp_path))
    wait_for(tmp_path / "ready")
    os.kill(process.pid, number)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    assert status(process) == code


def test_a_later_signal_ends_at_once_whatever_is_computed(tmp_path):
    process = start(one_long_step, str(tmp_path))
    wait_for(tmp_path / "ready")
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(1.5 * SAME_REQUEST_S)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(WAIT_S / 2)
    code = process.exitcode
    process.kill()
    assert code == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_loading_processes_leave_signals_to_the_main_process(number, tmp_path):
    """The main process gets all batches that it still needs."""
    process = start(batches, str(tmp_path), True)
    wait_for(tmp_path / "ready")
    os.killpg(process.pid, number)
    assert status(process) == exit_status(number)
    assert (tmp_path / "seen").read_text() == "20"


def test_unshielded_ones_end_with_the_signal(tmp_path):
    process = start(batches, str(tmp_path), False)
    wait_for(tmp_path / "ready")
    os.killpg(process.pid, signal.SIGTERM)
    assert status(process) == 1 and not (tmp_path / "seen").exists()


def test_all_processes_of_a_training_end_after_the_same_step(tmp_path):
    """Only one of them got the signal."""
    processes = [start(steps_together, str(tmp_path), rank) for rank in range(2)]
    for rank in range(2):
        wait_for(tmp_path / f"ready{rank}")
    os.kill(processes[1].pid, signal.SIGTERM)
    assert [status(process) for process in processes] == [143, 143]
    assert (tmp_path / "ended0").read_text() == (tmp_path / "ended1").read_text()


def test_a_process_with_shielded_ones_can_exit(tmp_path, capfd):
    assert status(start(leave, str(tmp_path))) == 7
    assert "Error" not in capfd.readouterr().err


def test_afterwards_signals_are_what_they_were():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with StopSignals():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_was_ignored_remains_so():
    """``nohup`` starts a process that ignores SIGHUP, so that its terminal may be closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        time.sleep(0.2)
    assert not signals.requested
    signal.signal(signal.SIGHUP, before)


def _run_on(has_begun) -> None:
    has_begun.set()
    time.sleep(60)


def test_processes_that_a_training_forks_end_on_signals():
    """multiprocessing ends the processes of a pool by SIGTERM, and waits until they end."""
    fork = multiprocessing.get_context("fork")
    has_begun = fork.Event()
    with StopSignals() as signals:
        process = fork.Process(target=_run_on, args=(has_begun,))
        process.start()
        assert has_begun.wait(20)
        process.terminate()
        process.join(20)
    assert process.exitcode == -signal.SIGTERM and not signals.requested
