"""One process at a time."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from etram_mmdet.utils import claims, locks
from etram_mmdet.utils.claims import ClaimedError, Holder, claim, is_stale, read_holder, try_claim

fork = get_context("fork")


def _hold(path: Path, is_claimed) -> None:
    try_claim(path)
    is_claimed.set()
    signal.pause()


@pytest.fixture
def other(tmp_path):
    """A process that holds ``claim``, and its path."""
    is_claimed = fork.Event()
    process = fork.Process(target=_hold, args=(tmp_path / "claim", is_claimed))
    process.start()
    assert is_claimed.wait(20)
    yield process, tmp_path / "claim"
    process.kill()
    process.join()


def test_a_living_claim_is_refused_by_name(other):
    process, path = other
    with pytest.raises(
        ClaimedError,
        match=rf"^runs/a: process {process.pid} on .+ works in this folder "
        r"\(last sign of life \d s ago\);",
    ):
        with claim(path, "runs/a"):
            pass
    assert read_holder(path).pid == process.pid and not is_stale(path)


def test_the_claim_of_a_killed_process_is_taken_at_once(other):
    process, path = other
    process.kill()
    process.join()
    assert is_stale(path)
    with claim(path, "runs/a") as mine:
        assert read_holder(path).pid == os.getpid() and mine.is_held()
    assert not path.exists()


def test_a_process_number_used_again_is_not_the_holder(tmp_path):
    held = try_claim(tmp_path / "claim")
    earlier = replace(held.holder, ticks=held.holder.ticks - 1)
    assert earlier.has_ended() and not held.holder.has_ended()
    assert not replace(earlier, machine="elsewhere").has_ended()
    held.release()


def test_a_claim_of_another_machine_expires(tmp_path, monkeypatch):
    path = tmp_path / "claim"
    monkeypatch.setattr(Holder, "has_ended", lambda self: False)
    lost = try_claim(path)
    old = time.time() - claims.STALE_S
    os.utime(path, (old + 20, old + 20))
    assert try_claim(path) is None
    os.utime(path, (old - 1, old - 1))
    mine = try_claim(path)
    assert mine.is_held() and not lost.is_held()
    lost.release()
    assert mine.is_held()
    mine.release()


def test_the_holder_renews_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    held = try_claim(tmp_path / "claim")
    os.utime(held.path, (1, 1))
    until = time.monotonic() + 20
    while held.path.stat().st_mtime < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert held.path.stat().st_mtime > 2
    held.release()


def _count(path: Path, rounds: int) -> None:
    total = path.with_name("total")
    for _ in range(rounds):
        while (held := try_claim(path)) is None:
            time.sleep(0.001)
        number = int(total.read_text())
        total.write_text(str(number + 1))
        held.release()


def test_two_never_hold_it_together(tmp_path):
    (tmp_path / "total").write_text("0")
    processes = [fork.Process(target=_count, args=(tmp_path / "claim", 50)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "total").read_text() == "200"
    assert [path.name for path in tmp_path.iterdir()] == ["total"]


def test_a_claim_that_is_released_while_we_wait_is_made_anew(tmp_path, monkeypatch):
    path = tmp_path / "claim"
    path.touch()
    lock = locks._lock
    looks = iter([path.unlink])

    def look(number: int, until: float) -> None:
        next(looks, lambda: None)()
        lock(number, until)

    monkeypatch.setattr(locks, "_lock", look)
    assert try_claim(path).is_held()
