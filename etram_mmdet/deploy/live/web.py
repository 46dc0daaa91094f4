"""A small web server that shows the latest window in a browser."""

from __future__ import annotations

import base64
import errno
import json
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qs, urlsplit

from etram_mmdet.deploy.inferencer import Inferencer
from etram_mmdet.deploy.live.addresses import is_any, network_addresses, url_of
from etram_mmdet.deploy.live.loop import LiveWindow
from etram_mmdet.deploy.live.outputs import Output, boxes_as_dicts
from etram_mmdet.deploy.live.page import PAGE
from etram_mmdet.deploy.live.png import encode_png
from etram_mmdet.utils.errors import InputError
from etram_mmdet.visualization.event_colours import events_to_rgb

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_WAIT_S = 1.0  # longest time that a browser waits for the next window
# How long the end waits for a browser that has just asked, and then for others like it.
_LAST_ANSWER_S = 2.0
_FAREWELL_S = 0.3


class WebPage(Output):
    """Serves a page with the events and boxes of the latest window.

    Pictures are made when a browser asks for them, in the thread that answers.

    Args:
        port: port of the server; 0 lets the system choose one.
        hw: height and width of the sensor, in pixels.
        inferencer: the detector.
        counts: gives what the page shows below the picture, by name.
        host: address on which it listens. ``0.0.0.0`` and ``::`` are all addresses of the machine.
            Default: 127.0.0.1, this machine only.

    Attributes:
        url: where a browser on this machine finds the page.
        network_urls: where browsers on other machines find it, if ``host`` means all addresses.

    Raises:
        InputError: the port is in use or may not be used, or the host is no address of this
            machine.
    """

    def __init__(
        self,
        port: int,
        hw: tuple[int, int],
        inferencer: Inferencer,
        counts: Callable[[], dict[str, str]],
        host: str = "127.0.0.1",
    ) -> None:
        self._hw = hw
        self._representation = inferencer.representation(*hw)
        self._palette = inferencer.palette
        self._counts = counts
        self._latest: tuple[int, LiveWindow | None] = (-1, None)
        self._changed = threading.Condition()
        self._is_over = False
        self._has_told_end = False
        self._asked_s = -math.inf
        try:
            self._server = _Server(host, port, _handler(self))
        except (OSError, OverflowError) as error:
            raise InputError(_refusal(port, host, error)) from error
        port = self._server.server_port
        has_ipv6 = self._server.address_family == socket.AF_INET6
        here = ("::1" if has_ipv6 else "127.0.0.1") if is_any(host) else host
        self.url = url_of(here, port)
        addresses = network_addresses(has_ipv6) if is_any(host) else []
        self.network_urls = [url_of(address, port) for address in addresses]
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()

    def write(self, seen: LiveWindow) -> None:
        with self._changed:
            self._latest = self._latest[0] + 1, seen
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            is_watched = time.monotonic() - self._asked_s < 2 * _WAIT_S
            if is_watched:
                self._changed.wait_for(lambda: self._has_told_end, _LAST_ANSWER_S)
        if is_watched:
            time.sleep(_FAREWELL_S)
        self._server.shutdown()
        self._server.server_close()

    def state(self, after: int) -> dict:
        """What the page draws next.

        Args:
            after: number of the window that it shows; the answer waits a moment for another.
        """
        with self._changed:
            self._asked_s = time.monotonic()
            self._changed.wait_for(lambda: self._latest[0] != after or self._is_over, _WAIT_S)
            number, seen = self._latest
            is_over = self._is_over
            if is_over:
                self._has_told_end = True
                self._changed.notify_all()
        if seen is None or number == after:
            return dict(number=number, is_over=is_over)
        off_on = self._representation.off_on(seen.window.image)
        return dict(
            number=number,
            is_over=is_over,
            height=self._hw[0],
            width=self._hw[1],
            boxes=boxes_as_dicts(seen),
            palette=self._palette,
            counts={"time": f"{seen.window.t_us / 1e6:.2f} s", **self._counts()},
            png=base64.b64encode(encode_png(events_to_rgb(off_on))).decode(),
        )


def _refusal(port: int, host: str, error: OSError | OverflowError) -> str:
    why = getattr(error, "strerror", None) or error
    if isinstance(error, socket.gaierror) or why == os.strerror(errno.EADDRNOTAVAIL):
        return (
            f"--web-host {host}: is no address of this machine ({why}); name one of its addresses, "
            "or 0.0.0.0 for all of them"
        )
    return (
        f"--web {port}: the port cannot be used on {host}: {why}; choose another, such as "
        f"--web {8000 if port != 8000 else 8001}"
    )


class _Server(ThreadingHTTPServer):
    """A server on an address of IPv4 or IPv6, or on a name of this machine."""

    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        kinds = dict(type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, address = socket.getaddrinfo(host or None, 0, **kinds)[0]
        super().__init__((address[0], port), handler)

    def server_bind(self) -> None:
        """Bind; unlike the base class without a look-up of names, which may take seconds."""
        if self.address_family == socket.AF_INET6:
            with suppress(OSError):  # "::" then takes IPv4, too
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


def _handler(page: WebPage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers with the page and with the state that it draws."""

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if address.path == "/":
                self._answer("text/html; charset=utf-8", PAGE.encode())
            elif address.path == "/latest.json":
                after = parse_qs(address.query).get("after", ["-1"])[0]
                number = int(after) if _NUMBER.fullmatch(after) else -1
                self._answer("application/json", json.dumps(page.state(number)).encode())
            else:
                self.send_error(404)

        def _answer(self, kind: str, content: bytes) -> None:
            try:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the browser has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Keep requests off the terminal."""

    return Handler
