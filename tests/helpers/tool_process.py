"""Run a tool in a process that is forked from one that has done the imports.

Imports take longer than most tests.

The server imports and computes nothing, so that its children are as good as new. Real starts of
Python are left to torchrun, to commands with a PYTHONPATH and to the test of --help.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from unittest.mock import patch

from tests.helpers.paths import ROOT, THREADS
from tests.helpers.warm_python import ADDRESS, become, serve, wait_for, write_program

PRELOADED = (
    "etram_mmdet.plugins",
    "etram_mmdet.apis.inference",
    "etram_mmdet.deploy.live.run",
    "etram_mmdet.engine.runner.stream_runner",
    "etram_mmdet.visualization.figures.evaluation",
    "cv2",
)
# Programs that the tests start inherit what is ignored here, and would ignore the tests' signals:
# a shell ignores SIGINT in the background, and nohup SIGHUP.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # the tests go on without their terminal
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(list(PRELOADED))


def run_tool(
    words: list[str], env: dict[str, str], output: Path, timeout: float, folder: Path = ROOT
) -> int:
    """Exit status of ``python WORDS`` in ``folder``.

    The output goes to a file. The process is killed after ``timeout`` seconds.
    """
    process = start_tool(words, env, output, folder)
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError(
            f"{' '.join(words)} took more than {timeout} s:\n{output.read_text()[-3000:]}"
        )
    return process.exitcode


def start_tool(
    words: list[str], env: dict[str, str], output: Path, folder: Path = ROOT
) -> ForkServerProcess:
    """``python WORDS`` in ``folder`` as it runs; its output goes to a file."""
    return start(_main, words, _warm(env), str(output), str(folder), env=env)


def start_session(
    words: list[str], env: dict[str, str], output: Path, folder: Path = ROOT
) -> ForkServerProcess:
    """As :func:`start_tool`, in a process group of its own.

    A signal to the group reaches its loading processes too, and no other process.
    """
    return start(_main_of_session, words, _warm(env), str(output), str(folder), env=env)


def run_ranks(
    count: int,
    words: list[str],
    env: dict[str, str],
    output: Path,
    timeout: float,
    folder: Path = ROOT,
) -> int:
    """Exit status of ``count`` processes that train or test together, as torchrun starts them.

    The output of all goes to one file. If one fails, or after ``timeout`` seconds, all are killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**env, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    files = [output.with_name(f"{output.name}_{rank}") for rank in range(count)]
    processes = [
        start_tool(words, {**env, "RANK": str(rank), "LOCAL_RANK": str(rank)}, file, folder)
        for rank, file in enumerate(files)
    ]
    end = time.monotonic() + timeout
    while any(each.is_alive() for each in processes) and time.monotonic() < end:
        if any(each.exitcode for each in processes):
            break
        processes[0].join(0.05)
    for each in processes:
        each.kill()
        each.join()
    output.write_text("".join(file.read_text() for file in files))
    return next((each.exitcode for each in processes if each.exitcode), 0)


def start(target: Callable, *args: object, env: dict[str, str] | None = None) -> ForkServerProcess:
    """Run ``target`` in a process of its own.

    ``env`` is the environment of the server, if this is its first process.
    """
    process = _server.Process(target=target, args=args)
    with patch.dict(
        os.environ, env or {}
    ):  # the server takes it at its start, when OpenMP reads it
        process.start()
    return process


def warm_python(env: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """A program that takes the place of Python, and the environment that it needs."""
    warm = _warm(env)
    return Path(warm[ADDRESS]).with_name("python"), warm


def _warm(env: dict[str, str]) -> dict[str, str]:
    """``env`` with the address of a server that forks the tools that a tool starts."""
    return {**env, ADDRESS: _warm_server(env.get("OMP_NUM_THREADS", THREADS))}


@cache
def _warm_server(threads: str) -> str:
    folder = Path(mkdtemp(prefix="warm"))
    write_program(folder)
    address = folder / "socket"
    server = start(serve, str(address), env={"OMP_NUM_THREADS": threads})
    atexit.register(rmtree, folder, ignore_errors=True)
    atexit.register(server.terminate)  # before multiprocessing waits for it
    wait_for(address)
    return str(address)


def _main_of_session(*args: object) -> None:
    os.setsid()
    _main(*args)


def _main(words: list[str], env: dict[str, str], output: str, folder: str) -> None:
    with open(output, "wb", buffering=0) as file, open(os.devnull, "rb") as nothing:
        for target, source in ((0, nothing), (1, file), (2, file)):
            os.dup2(source.fileno(), target)
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    # without a buffer: multiprocessing would fail at the end on what a closed terminal did not take
    raw = open(2, "wb", buffering=0, closefd=False)
    sys.stderr = io.TextIOWrapper(raw, write_through=True)
    become(env, folder)
    tool = os.path.join(folder, words[0])
    sys.argv = words
    sys.path[:1] = [
        os.path.dirname(tool),
        *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)),
    ]
    runpy.run_path(tool, run_name="__main__")
