"""Machine 0 of a run waits until all machines are there, and finds out whether they fit."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, fields

from etram_mmdet.utils.errors import InputError

WELCOME = b"\n"  # sent to a machine at once; its answer comes when all are there
LARGEST = 4096  # bytes of a message
_PATIENCE_S = 5.0  # for a machine that has to take its answer
_MOST_UNKNOWN = 64  # connections without a message; the oldest is closed then


@dataclass(frozen=True)
class Machine:
    """What a machine says about itself when it comes.

    Args:
        node: its number, NODE_RANK.
        nodes: number of all machines that it was told, NNODES.
        restarts: how often its torchrun starts a failed training again, MAX_RESTARTS.
        host: its name, for people.
        token: random text that tells this start of the command from every other. One that comes
            again has lost its first connection.
    """

    node: int
    nodes: int
    restarts: int
    host: str
    token: str

    def __str__(self) -> str:
        return f"machine {self.node} ({self.host})"


class Meeting:
    """Waits on machine 0 until all machines are there, then tells all of them whether they fit.

    Other programs may connect, and send anything or nothing: nobody waits for them.

    Args:
        port: port to listen on.
        nodes: number of all machines.
        timeout_s: longest wait, in seconds.

    Raises:
        InputError: the port cannot be used.
    """

    def __init__(self, port: int, nodes: int, timeout_s: float) -> None:
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s
        self._came: dict[socket.socket, Machine] = {}
        self._unknown: dict[socket.socket, bytes] = {}  # what each has sent of its first message
        try:
            self._server = _listen(port)
        except OSError as error:
            raise InputError(
                f"PORT={port} cannot be used on this machine, {socket.gethostname()} "
                f"({os.strerror(error.errno)}); it may belong to another run, or "
                "NODE_RANK=0 was given twice: set PORT to a free port, the same on all machines"
            ) from error

    def hold(self) -> None:
        """Wait for all machines and answer them: with a sentence, or with none if all is well."""
        with self._server:
            answer = json.dumps(self._wait()).encode() + b"\n"
        for connection in self._unknown:
            connection.close()
        for connection in self._came:
            with suppress(OSError):
                connection.settimeout(_PATIENCE_S)
                connection.sendall(answer)
        for connection in self._came:
            with suppress(OSError):
                connection.recv(1)  # its end; who closes first leaves the port in use for a while
            connection.close()

    def _wait(self) -> str:
        while True:
            for ended in select.select([*self._came], [], [], 0)[0]:  # the others only listen
                self._forget(ended)
            came = list(self._came.values())
            # machine 0 looks for itself as well, and has to hear what is wrong
            fault = _fault(came) if any(machine.node == 0 for machine in came) else ""
            left_s = self._end_s - time.monotonic()
            if fault or len(came) == self._nodes:
                return fault
            if left_s <= 0:
                return self._missing()
            watched = [self._server, *self._unknown, *self._came]
            for ready in select.select(watched, [], [], left_s)[0]:
                with suppress(OSError):
                    self._look(ready)

    def _look(self, ready: socket.socket) -> None:
        if ready is self._server:
            self._accept()
        elif ready in self._unknown:
            self._receive(ready)

    def _accept(self) -> None:
        connection = self._server.accept()[0]
        connection.setblocking(False)
        if len(self._unknown) == _MOST_UNKNOWN:
            self._forget(next(iter(self._unknown)))
        self._unknown[connection] = b""

    def _receive(self, connection: socket.socket) -> None:
        try:
            part = connection.recv(LARGEST)
        except OSError:
            part = b""
        message = self._unknown[connection] + part
        if not part or len(message) > LARGEST:
            self._forget(connection)
        elif not message.endswith(b"\n"):
            self._unknown[connection] = message
        elif (machine := _machine_of(message)) is None:
            self._forget(connection)
        else:
            for lost in [each for each, m in self._came.items() if m.token == machine.token]:
                self._forget(lost)
            del self._unknown[connection]
            self._came[connection] = machine
            connection.send(WELCOME)

    def _forget(self, connection: socket.socket) -> None:
        self._came.pop(connection, None)
        self._unknown.pop(connection, None)
        connection.close()

    def _missing(self) -> str:
        came = {machine.node for machine in self._came.values()}
        missing = ", ".join(str(node) for node in range(self._nodes) if node not in came)
        return (
            f"of {self._nodes} machines (NNODES) these did not come within {self._timeout_s:g} s "
            f"(RENDEZVOUS_TIMEOUT_S), by their NODE_RANK: {missing}; start the same command there, "
            "with the same MASTER_ADDR and PORT, and then here again"
        )


def _fault(came: list[Machine]) -> str:
    """Sentence about machines that cannot work together; none if they can."""
    for machine in came:
        other = next((o for o in came if o is not machine and o.node == machine.node), None)
        if other is not None:
            return (
                f"NODE_RANK={machine.node} was given twice, on {machine.host} and {other.host}; "
                f"each machine needs a number of its own, 0 to {machine.nodes - 1}"
            )
        for name, key in (("NNODES", "nodes"), ("MAX_RESTARTS", "restarts")):
            ours, theirs = getattr(came[0], key), getattr(machine, key)
            if ours != theirs:
                return (
                    f"{name} differs: {ours} on {came[0]}, {theirs} on {machine}; set it to the "
                    "same number on all machines"
                )
    return ""


def _listen(port: int) -> socket.socket:
    """A socket for IPv4, and for IPv6 where this machine has it."""
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _machine_of(message: bytes) -> Machine | None:
    """The machine that sent a message; None if another program did."""
    try:
        machine = Machine(**json.loads(message))
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = {"int": int, "str": str}
    are_right = all(type(getattr(machine, f.name)) is kinds[f.type] for f in fields(machine))
    return machine if are_right and 0 <= machine.node < machine.nodes else None
