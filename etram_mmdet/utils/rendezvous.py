"""Let the machines of one run meet before torchrun starts, or say in a sentence why they do not.

tools/dist_train.sh and tools/dist_test.sh start this on each machine. It becomes the command after
``--`` as soon as all machines are there. torchrun alone waits ten minutes without a word for a
machine that does not come, and ends in a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from dataclasses import asdict
from functools import partial

from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.meeting import LARGEST, WELCOME, Machine, Meeting

_QUIET_S = 5.0  # wait of which nothing is said
_RETRY_S = 0.5
_WELCOME_S = 5.0  # longest wait for machine 0 to take note of this machine


class Guest:
    """One machine, which looks for machine 0 and waits for its answer.

    Args:
        host: name or address of machine 0.
        port: port of machine 0.
        me: what this machine says about itself.
        timeout_s: longest wait, in seconds.
    """

    def __init__(self, host: str, port: int, me: Machine, timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._me = me
        self._limit = f"{timeout_s:g} s (RENDEZVOUS_TIMEOUT_S)"
        self._start_s = time.monotonic()
        self._end_s = self._start_s + timeout_s
        self._told = ""

    def wait(self) -> None:
        """Wait until all machines are there.

        Raises:
            InputError: they do not meet in time, or do not fit each other.
        """
        while True:
            try:
                answer = self._ask()
                break
            except (OSError, ValueError) as error:
                why = self._reason(error)
            if time.monotonic() > self._end_s:
                raise InputError(
                    f"machine {self._me.node} did not meet the others within {self._limit}: {why}"
                )
            self._tell(why)
            time.sleep(_RETRY_S)
        if answer:
            raise InputError(answer)

    def _ask(self) -> str:
        """The answer of machine 0: a sentence about what is wrong, or none."""
        with socket.create_connection((self._host, self._port), timeout=_QUIET_S) as connection:
            connection.sendall(json.dumps(asdict(self._me)).encode() + b"\n")
            connection.settimeout(_WELCOME_S)
            _check_welcome(connection)
            if not select.select([connection], [], [], _QUIET_S)[0]:
                self._tell("machine 0 is there, but not all of the others have come")
            # machine 0 may have begun later, and says which machines are missing
            connection.settimeout(max(0.0, self._end_s - time.monotonic()) + _QUIET_S)
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline(LARGEST))
            if not isinstance(answer, str):
                raise ValueError("not an answer of machine 0")
            return answer

    def _tell(self, why: str) -> None:
        if time.monotonic() - self._start_s > _QUIET_S and why != self._told:
            print(f"machine {self._me.node} waits up to {self._limit}: {why}", flush=True)
            self._told = why

    def _reason(self, error: Exception) -> str:
        place = f"{self._host}:{self._port} (MASTER_ADDR, PORT)"
        if isinstance(error, socket.gaierror):
            return f"the name MASTER_ADDR={self._host} is not known to this machine"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {place}; is the machine with NODE_RANK=0 started there?"
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):
            return f"{place} cannot be reached ({error.strerror or error}); is the port open there?"
        return (
            f"{place} is answered by another program, perhaps by a run that has begun without this "
            "machine; end it, or choose another PORT"
        )


def _check_welcome(connection: socket.socket) -> None:
    """Refuse another program, such as torchrun of a run that has begun, which stays silent."""
    try:
        is_welcome = connection.recv(1) == WELCOME
    except TimeoutError:
        is_welcome = False
    if not is_welcome:
        raise ValueError("no machine 0 that waits")


def meet(host: str, port: int, me: Machine, timeout_s: float) -> None:
    """Wait until all machines of a run are there; machine 0 also receives the others.

    Args:
        host: name or address of machine 0.
        port: port of machine 0.
        me: what this machine says about itself.
        timeout_s: longest wait, in seconds.

    Raises:
        InputError: the machines do not meet in time, or do not fit each other.
    """
    if me.node > 0:
        Guest(host, port, me, timeout_s).wait()
        return
    thread = threading.Thread(target=Meeting(port, me.nodes, timeout_s).hold, daemon=True)
    thread.start()
    try:
        Guest(host, port, me, timeout_s).wait()
    except InputError:
        thread.join()  # the others need their answers, too
        raise
    thread.join()


def main(words: list[str]) -> None:
    """Meet the others, then become a command.

    Args:
        words: options, ``--`` and the command.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", nargs=2, metavar=("HOST", "PORT"))
    number = partial(parser.add_argument, type=int, required=True)
    number("--node")
    number("--nodes")
    number("--restarts")
    parser.add_argument("--timeout-s", type=float, required=True)
    at = words.index("--")
    args = parser.parse_args(words[:at])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # the first process of a container
    host, port = args.place
    me = Machine(args.node, args.nodes, args.restarts, socket.gethostname(), uuid.uuid4().hex)
    with exit_on_input_error():
        if shutil.which(words[at + 1]) is None:
            raise InputError(
                f"{words[at + 1]}: no such command; activate the environment of PyTorch"
            )
        meet(host, int(port), me, args.timeout_s)
    os.execvp(words[at + 1], words[at + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
