"""A headless Chromium that a test steers through a pipe, without further packages."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

import cv2
import numpy as np

NAMES = ("chromium", "chromium-browser", "google-chrome")


# What it does by itself besides showing a page: updates, reports, offers to a new user.
QUIET = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)


@cache
def find_browser() -> str | None:
    """Path of a Chromium that starts; None if none is installed."""
    return next(filter(_starts, filter(None, map(shutil.which, NAMES))), None)


def _starts(path: str) -> bool:
    return not subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode


class Browser:
    """A tab of a headless Chromium, by the Chrome DevTools Protocol.

    Args:
        folder: an empty folder for its profile.
    """

    def __init__(self, folder: Path):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        flags += [*QUIET, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            # the protocol has its messages on the descriptors 3 and 4
            [
                "bash",
                "-c",
                f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}',
                find_browser(),
                *flags,
            ],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]

    def call(self, method: str, **params) -> dict:
        """The result of a method of the protocol."""
        self._number += 1
        message = dict(id=self._number, method=method, params=params)
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._answer()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def show(self, url: str, width: int = 1280, height: int = 900) -> None:
        """Open a page in a window of a size in pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Page.navigate", url=url)

    def value(self, expression: str):
        """The value of an expression in JavaScript."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]
        return result.get("value")

    def wait_for(self, expression: str, seconds: float = 30.0):
        """Wait until an expression in JavaScript is true, and return its value."""
        until_s = time.monotonic() + seconds
        while not (value := self.value(expression)):
            assert time.monotonic() < until_s, (
                f"{expression}: {self.value('document.body.innerText')}"
            )
            time.sleep(0.05)
        return value

    def picture(self) -> np.ndarray:
        """What the window shows, (H, W, 3) RGB."""
        data = base64.b64decode(self.call("Page.captureScreenshot")["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answer(self) -> dict:
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
