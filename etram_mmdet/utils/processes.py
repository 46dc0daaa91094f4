"""Which process of which machine wrote a file, and whether it still runs."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine_id() -> str:
    """Eight letters that every process here shares which sees the same process numbers, and no other does.

    The name of the host is not enough: containers of one host may have its name and process numbers of their own.
    """
    boot = _text(Path("/proc/sys/kernel/random/boot_id"))
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{socket.gethostname()} {boot} {numbers}".encode()).hexdigest()[:8]


def start_ticks(pid: int) -> int:
    """When a process of this machine began, in ticks since the start of the machine; 0 if it does not run.

    Process numbers are used again, the pair of number and beginning is not. A process that has ended and whose parent
    has not asked for its status does not run.
    """
    state, _, rest = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].strip().partition(" ")
    fields = rest.split()
    return int(fields[18]) if len(fields) > 18 and state not in ("Z", "X") else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
