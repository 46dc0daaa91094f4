"""RAW bytes from a pipe, from standard input or from a socket."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time
from contextlib import suppress
from typing import BinaryIO

from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.deploy.sources.raw_stream import RawStream
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.utils.errors import InputError

STANDARD_INPUT = "-"
TCP = "tcp://"
UNIX = "unix:"
_CHUNK_BYTES = 1 << 18  # events of it fit into the cache of a processor
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux
_PIPE_BYTES = 1 << 20
_CONNECT_S = 10.0


class RawBytes(Source):
    """RAW bytes in EVT 2.0, 2.1 or 3.0 from another program, with or without Prophesee's header.

    A packet holds what has come since the packet before. A sender that is faster than its reader
    has to wait when the buffers between them are full.

    Args:
        address: where the bytes come from: ``-`` (standard input), the path of a named pipe,
            ``tcp://HOST:PORT`` or ``unix:PATH`` (a socket on which the sender listens).
        sensor_px: width and height of the sensor, for bytes whose header does not state them.
            Default: None, see ``likely_px``.
        likely_px: size that is assumed if nothing states one and the first events fit. Default:
            the size of the camera that introduced the encoding.
        patience_s: longest time to wait for the first events, in seconds. Default: 30.

    Raises:
        InputError: the address has no port.
    """

    can_wait = True

    def __init__(
        self,
        address: str,
        sensor_px: tuple[int, int] | None = None,
        likely_px: tuple[int, int] | None = None,
        patience_s: float = 30.0,
    ) -> None:
        self.name = "standard input" if address == STANDARD_INPUT else address
        self._address = address
        self._host_and_port = _host_and_port(address) if address.startswith(TCP) else None
        self._stream = RawStream(self.name, sensor_px, likely_px)
        self._patience_s = patience_s
        self._connection: socket.socket | BinaryIO | None = None
        self._first = NO_EVENTS
        self._has_ended = False
        self._broke: InputError | None = None

    @property
    def dropped(self) -> dict[str, int]:
        return self._stream.dropped

    @property
    def reached_us(self) -> int | None:
        return None if len(self._first.t) else self._stream.reached_us

    @property
    def size_is_assumed(self) -> bool:
        """Whether neither the header nor the user states the size of the sensor."""
        return self._stream.size_is_assumed

    def open(self) -> None:
        try:
            self._connection = self._connected()
        except OSError as error:
            why = error.strerror or error
            raise InputError(
                f"{self.name}: cannot be opened: {why}; start the sender first"
            ) from error
        self._poll = select.poll()
        self._poll.register(self._connection, select.POLLIN)
        until_s = time.monotonic() + self._patience_s
        while self._stream.intake is None:
            first = self.read(until_s - time.monotonic())
            if first is None:
                raise InputError(f"{self.name}: ended before the first event; look at the sender")
            self._first = first
            if self._stream.intake is None and time.monotonic() >= until_s:
                raise InputError(
                    f"{self.name}: no event came within {self._patience_s:g} s; look at the sender"
                )
        self.width = self._stream.intake.width
        self.height = self._stream.intake.height

    def read(self, timeout_s: float) -> Events | None:
        events = self._first
        self._first = NO_EVENTS
        until_s = time.monotonic() + timeout_s
        while not len(events.t) and not self._has_ended:
            self._stream.check()
            if not self._poll.poll(max(until_s - time.monotonic(), 0) * 1000):
                return NO_EVENTS
            events = self._received()
        if len(events.t):
            return events
        self._stream.check()
        if self._broke is not None:
            raise self._broke
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _received(self) -> Events:
        try:
            data = os.read(self._connection.fileno(), _CHUNK_BYTES)
        except OSError as error:
            self._broke = InputError(
                f"{self.name}: the connection broke: {error.strerror}; start the sender again"
            )
            data = b""
        if data:
            return self._stream(data)
        self._has_ended = True
        return self._stream.finish()

    def _connected(self) -> socket.socket | BinaryIO:
        if self._host_and_port is not None:
            connection = socket.create_connection(self._host_and_port, _CONNECT_S)
            connection.settimeout(None)
            return connection
        if self._address.startswith(UNIX):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self._address.removeprefix(UNIX))
            return connection
        if self._address != STANDARD_INPUT:
            return _larger(_fifo(self._address))
        if sys.stdin.isatty():
            raise InputError("standard input: is a terminal; pipe RAW bytes into this program")
        return _larger(open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix(TCP).rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise InputError(f"{address}: expected tcp://HOST:PORT, such as tcp://127.0.0.1:5000")
    return host.strip("[]"), int(port)


def _fifo(path: str) -> BinaryIO:
    """A named pipe, open at once, also if nobody writes into it yet."""
    pipe = open(path, "rb", buffering=0, opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK))
    os.set_blocking(pipe.fileno(), True)
    return pipe


def _larger(pipe: BinaryIO) -> BinaryIO:
    """A pipe with a larger buffer, where the system allows one: fewer and longer packets."""
    with suppress(OSError):
        fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES)
    return pipe
