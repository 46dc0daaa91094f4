"""Damaged files of every kind are read, or end in a sentence.

``python -m tests.fuzz`` is the long run.
"""

from __future__ import annotations

import faulthandler
import os
import time

import pytest

from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.runner import fuzz

# Read by what reads others; only the long run damages them.
ALIKE = ("xs ys ts ps h5", "M3ED h5", "MVSEC h5", "npz array", "predictions npz")


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ALIKE])
def test_no_traceback_and_no_crash(name, tmp_path):
    result = fuzz(KINDS[name], 150, 0, tmp_path)
    assert sum(result.outcomes.values()) == 150
    commands = [
        f"python -m tests.fuzz --kinds '{name}' --only {n}: {why}"
        for n, why in result.failures.items()
    ]
    assert not commands, "\n".join(commands)
    assert result.outcomes["refused"] > 30 and result.outcomes["read"] > 0


def misbehave(path):
    """Fail in a way that the bytes of the file choose."""
    number = sum(path.read_bytes()) % 5
    if number == 1:
        raise KeyError("damage")
    if number == 2:
        faulthandler.disable()  # pytest's, which would print many lines
        os.abort()
    if number == 3:
        bytearray(3 << 30)
    if number == 4:
        raise ValueError("other damage") from MemoryError()


def test_failures_are_seen_and_survived(tmp_path):
    """Each kind of failure is counted, and the files after it are read."""

    def make(folder):
        (folder / "a.bin").write_bytes(bytes(range(5, 250)))
        return folder / "a.bin"

    result = fuzz(Kind("misbehaving", make, (misbehave,)), 60, 1, tmp_path)
    assert sum(result.outcomes.values()) == 60
    assert result.outcomes["read"] and result.outcomes["traceback"] and result.outcomes["killed"]
    assert any("SIGABRT" in why for why in result.failures.values())
    assert any("out of memory" in why for why in result.failures.values())


def test_what_takes_too_long_is_slow(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.runner.MOST_S", -1)

    def spin(path):
        end = time.process_time() + 30
        while path.read_bytes() != b"valid" and time.process_time() < end:
            pass

    def make(folder):
        (folder / "a.bin").write_bytes(b"valid")
        return folder / "a.bin"

    result = fuzz(Kind("slow", make, (spin,)), 1, 0, tmp_path)
    assert result.outcomes == {"slow": 1} and result.failures[0] == "slow: SIGXCPU"
