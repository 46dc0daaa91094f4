"""A small web server that shows the latest window in a browser."""

from __future__ import annotations

import base64
import json
import math
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from etram_mmdet.deploy.inferencer import Inferencer
from etram_mmdet.deploy.live.loop import LiveWindow
from etram_mmdet.deploy.live.outputs import Output, boxes_as_dicts
from etram_mmdet.deploy.live.page import PAGE
from etram_mmdet.deploy.live.png import encode_png
from etram_mmdet.utils.errors import InputError
from etram_mmdet.visualization.event_colours import events_to_rgb

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_WAIT_S = 1.0  # longest time that a browser waits for the next window
_FAREWELL_S = 0.3  # time in which browsers that have just asked are told of the end


class WebPage(Output):
    """Serves a page with the events and boxes of the latest window.

    Pictures are made when a browser asks for them, in the thread that answers.

    Args:
        port: port of the server; 0 lets the system choose one.
        hw: height and width of the sensor, in pixels.
        inferencer: the detector.
        counts: gives what the page shows below the picture, by name.
        host: address on which it listens. Default: 127.0.0.1, this machine only.

    Raises:
        InputError: the port is in use or may not be used.
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
        self._asked_s = -math.inf
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(
                f"--web {port}: the port cannot be used on {host}: {why}; choose another, such as "
                f"--web {8000 if port != 8000 else 8001}"
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()

    def write(self, seen: LiveWindow) -> None:
        with self._changed:
            self._latest = self._latest[0] + 1, seen
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        if time.monotonic() - self._asked_s < 2 * _WAIT_S:
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
