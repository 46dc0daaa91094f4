"""A replacement of Python that starts our tools without their imports, which take seconds.

``tools/ablate.py``, ``demo.py``, ``gpu_check.py`` and others start tools by ``sys.executable``. In
a test this is a small program, :data:`PROGRAM`. It asks a server, which has done the imports, to
fork the tool. It passes on signals and the exit status. It runs real Python for all but tools and
torchrun.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import time
from pathlib import Path

ADDRESS = "WARM_PYTHON"  # environment variable with the path of the server's socket
CHECK_S = 2.0
MODULES = ("etram_mmdet.analysis.speed.gpu_check.work", "torch.distributed.run")
PROGRAM = """#!{python} -SEs
import json, os, signal, socket, sys

words, address = sys.argv[1:], os.environ.get("{address}")
words = words[words[:1] == ["-u"]:]  # as torchrun writes it
is_tool = words and "/tools/" in "/" + words[0] and words[0].endswith(".py")
if not address or not (is_tool or words[:1] == ["-m"] and words[1] in {modules}):
    os.execv("{python}", ["{python}", *words])
server = socket.socket(socket.AF_UNIX)
server.connect(address)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
answer = server.recv(2)
if answer and answer[0]:
    signal.signal(answer[0], signal.SIG_DFL)
    os.kill(os.getpid(), answer[0])
os._exit(answer[1] if answer else 1)
"""


def write_program(folder: Path) -> Path:
    """Write the program into a folder, as a file that can be executed."""
    path = folder / "python"
    names = dict(python=sys.executable, address=ADDRESS, modules=MODULES)
    path.write_text(PROGRAM.format(**names))
    path.chmod(0o755)
    return path


def serve(address: str) -> None:
    """Fork tools until the parent of this process has ended."""
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        listener.settimeout(CHECK_S)
        while os.getppid() == parent:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                listener.close()
                _watch(connection)
            connection.close()


def _watch(connection: socket.socket) -> None:
    """Run one tool, pass signals to it and report how it ended; kill it if the caller is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        connection.setblocking(True)
        head, files, _, _ = socket.recv_fds(connection, 8, 3)
        request = b""
        while len(request) < int.from_bytes(head, "big"):
            request += connection.recv(1 << 16)
        tool = multiprocessing.get_context("fork").Process(
            target=_run, args=(*json.loads(request), files, connection)
        )
        tool.start()
        while True:
            ready, _, _ = select.select([connection, tool.sentinel], [], [])
            if tool.sentinel in ready:
                tool.join()
                code = tool.exitcode
                connection.send(bytes([-code, 0] if code < 0 else [0, code & 255]))
                break
            numbers = connection.recv(16)
            for number in numbers:
                os.kill(tool.pid, number)
            if not numbers:
                os.killpg(tool.pid, signal.SIGKILL)
                break
    finally:
        os._exit(0)


def _run(
    words: list[str], folder: str, env: dict[str, str], files: list[int], connection: socket.socket
) -> None:
    os.setsid()
    connection.close()
    for target, source in enumerate(files):
        os.dup2(source, target)
        os.close(source)
    sys.stdin, sys.stdout, sys.stderr = (
        open(fd, mode, closefd=False) for fd, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    become(env, folder)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.join(folder, words[0])))
        runpy.run_path(words[0], run_name="__main__")


def become(env: dict[str, str], folder: str) -> None:
    """Take over environment and folder; tools that this process starts are forked as well."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    if ADDRESS in env:
        sys.executable = str(Path(env[ADDRESS]).with_name("python"))


def wait_for(address: Path, limit_s: float = 120.0) -> None:
    """Wait until the server listens."""
    end = time.monotonic() + limit_s
    while not address.exists():
        assert time.monotonic() < end, f"no server at {address}"
        time.sleep(0.01)
