"""The machine and process that wrote a file, and whether that process still runs."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine_id() -> str:
    """Eight letters shared by exactly those processes that see the same process numbers.

    The name of the host is not enough: containers of one host may have its name and process numbers
    of their own.
    """
    boot = _text(Path("/proc/sys/kernel/random/boot_id"))
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{socket.gethostname()} {boot} {numbers}".encode()).hexdigest()[:8]


def start_ticks(pid: int) -> int:
    """Start time of a process, in ticks since the start of the machine; 0 if it does not run.

    Process numbers are used again, but the pair of number and start time is not. A process that has
    ended, but whose parent has not asked for its status, counts as not running.

    Args:
        pid: number of a process of this machine.
    """
    state, _, rest = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].strip().partition(" ")
    fields = rest.split()
    return int(fields[18]) if len(fields) > 18 and state not in ("Z", "X") else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
