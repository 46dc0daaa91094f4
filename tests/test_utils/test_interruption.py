"""A process that signals ask to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.helpers.paths import ROOT

# Tells that it is ready, then tidies up for a while after the first signal.
_SCRIPT = """
import signal
import time
from etram_mmdet.utils.interruption import stop_once
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with stop_once():
        print("ready", flush=True)
        while True:
            pass
except KeyboardInterrupt as stopped:
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    print("tidy", stopped.exit_status, flush=True)
"""


def test_signals_in_any_order_raise_once():
    """Also signals that arrive while the first is handled; none makes Python complain."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "ready\n"
    for each in range(60):
        process.send_signal((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[each % 3])
        time.sleep(0.00002 * (each % 7))
    out, err = process.communicate(timeout=60)
    assert (out.split()[0], err, process.returncode) == ("tidy", "", 0)


def test_a_handler_that_a_signal_interrupts_waits_for_nothing():
    """The second signal may come at every line of the handler of the first."""
    lines = """
import os, signal, sys
from etram_mmdet.utils import interruption
where = int(sys.argv[1])
seen = 0

def trace(frame, event, _):
    global seen
    if frame.f_code.co_name == "stop" or seen:
        seen += 1
        if seen == where:
            sys.settrace(None)
            os.kill(os.getpid(), signal.SIGTERM)
    return trace

try:
    with interruption.stop_once():
        sys.settrace(trace)
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass
except KeyboardInterrupt:
    sys.settrace(None)
    print("ended")
"""
    for where in range(2, 12):
        command = [sys.executable, "-c", lines, str(where)]
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=20, env=dict(os.environ)
        )
        assert (ended.stdout, ended.stderr) == ("ended\n", "")
