"""Machines meet before torchrun starts, or each of them says why not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count

import pytest

from etram_mmdet.utils import meeting, rendezvous
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.meeting import Machine
from tests.helpers.nodes import free_port

HOST = "127.0.0.1"
TOKENS = count()


@pytest.fixture
def port():
    return free_port()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("_QUIET_S", "_RETRY_S"):
        monkeypatch.setattr(rendezvous, name, 0.05)


def machine(node, nodes=2, restarts=0, host="vm"):
    return Machine(node, nodes, restarts, host, token=str(next(TOKENS)))


def come(port, *machines, timeout_s=20.0):
    """What each machine says in the end; an empty text if it has met the others."""

    def one(me):
        try:
            rendezvous.meet(HOST, port, me, timeout_s)
        except InputError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(machines)) as pool:
        return list(pool.map(one, machines))


STRANGERS = (
    b"GET / HTTP/1.1\r\n\r\n",
    b'{"node": 1}\n',
    b'{"node":[],"nodes":3,"restarts":0,"host":"vm","token":"x"}\n',
    b'{"node":7,"nodes":3,"restarts":0,"host":"vm","token":"x"}\n',
    b"[" * 4000 + b"\n",
    b"x" * 5000,
    b"",
)


def test_machines_meet_whatever_else_calls(port):
    """A stranger on the port, and a machine that was started again, change nothing."""
    said = []
    waiting = threading.Thread(target=lambda: said.extend(come(port, machine(0, 3))))
    waiting.start()
    strangers = [connected(port) for _ in range(meeting._MOST_UNKNOWN + 1)]
    for greeting in STRANGERS:
        strangers.append(connected(port))
        strangers[-1].sendall(greeting)
    with connected(port) as ended:
        ended.sendall(b'{"node":1,"nodes":3,"restarts":0,"host":"vm","token":"old"}\n')
    assert come(port, machine(1, 3), machine(2, 3)) == ["", ""]
    waiting.join()
    assert said == [""]
    for stranger in strangers:
        stranger.close()


def test_a_machine_that_has_lost_its_connection_comes_again(port):
    waiting = threading.Thread(target=come, args=(port, machine(0, 3)))
    waiting.start()
    message = json.dumps(asdict(machine(1, 3))).encode() + b"\n"
    with connected(port) as lost, connected(port) as back:
        for connection in (lost, back):
            connection.sendall(message)
            assert connection.recv(1) == meeting.WELCOME
        assert come(port, machine(2, 3)) == [""]
        assert back.recv(9) == b'""\n'
    waiting.join()


def test_ctrl_c_on_machine_0_waits_for_nobody(port, monkeypatch):
    others, ended = threading.Event(), []
    monkeypatch.setattr(rendezvous.Guest, "wait", interrupted)
    monkeypatch.setattr(rendezvous.Meeting, "hold", lambda _: ended.append(others.wait(3)))
    with pytest.raises(KeyboardInterrupt):
        come(port, machine(0))
    assert not ended
    others.set()


def interrupted(_):
    raise KeyboardInterrupt


def connected(port):
    while True:
        try:
            return socket.create_connection((HOST, port), timeout=5)
        except ConnectionRefusedError:
            time.sleep(0.02)  # many tries in a row may use the port itself, and meet themselves


@pytest.mark.parametrize(
    ("machines", "says"),
    [
        (
            [machine(0, 4), machine(1, 4, host="a"), machine(1, 4, host="b")],
            "NODE_RANK=1 was given twice",
        ),
        ([machine(0, 2), machine(1, 3)], "NNODES differs: "),
        ([machine(0), machine(1, restarts=3)], "MAX_RESTARTS differs: "),
    ],
)
def test_machines_that_do_not_fit_all_hear_why(port, machines, says):
    assert all(sentence.startswith(says) for sentence in come(port, *machines))


def test_machine_0_stays_until_all_have_their_answer(port, monkeypatch):
    """It becomes torchrun then, or ends, and nobody would answer the others."""
    answered = []
    hold = rendezvous.Meeting.hold

    def slowly(held):
        hold(held)
        time.sleep(0.2)
        answered.append(True)

    monkeypatch.setattr(rendezvous.Meeting, "hold", slowly)
    assert come(port, machine(0, 1)) == [""] and answered


def test_machines_that_do_not_come_are_named(port, capsys):
    (sentence,) = come(port, machine(0, 3), timeout_s=0.3)
    assert sentence.startswith("of 3 machines (NNODES) these did not come within 0.3 s ")
    assert "by their NODE_RANK: 1, 2; start the same command there" in sentence
    assert "machine 0 waits up to 0.3 s (RENDEZVOUS_TIMEOUT_S)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("host", "says"),
    [(HOST, "nothing listens at 127.0.0.1:{}"), ("nobody.invalid", "the name MASTER_ADDR=nobody.")],
)
def test_a_machine_that_cannot_reach_machine_0_says_so(port, host, says):
    with pytest.raises(
        InputError, match=r"machine 1 did not meet the others within 0\.2 s"
    ) as error:
        rendezvous.meet(host, port, machine(1), 0.2)
    assert says.format(port) in str(error.value)


def test_a_port_in_use_is_told_on_both_sides(port):
    with socket.create_server(("", port)) as other:
        threading.Thread(target=hang_up, args=(other,), daemon=True).start()
        host, guest = come(port, machine(0), machine(1), timeout_s=0.3)
        other.shutdown(socket.SHUT_RDWR)
    assert host.startswith(f"PORT={port} cannot be used on this machine, ")
    assert f"127.0.0.1:{port} (MASTER_ADDR, PORT) is answered by another program" in guest


def test_a_silent_program_is_not_taken_for_machine_0(port, monkeypatch):
    """The store of torchrun, after a run has begun, takes any message and says nothing."""
    monkeypatch.setattr(rendezvous, "_WELCOME_S", 0.05)
    with (
        socket.create_server(("", port)),
        pytest.raises(InputError, match="answered by another program, perhaps by a run that has"),
    ):
        rendezvous.meet(HOST, port, machine(1), 0.2)


def hang_up(server):
    try:
        while True:
            server.accept()[0].close()
    except OSError:
        return


def test_the_command_follows_when_all_are_there(port):
    words = (HOST, port, "--node=0", "--nodes=1", "--restarts=0", "--timeout-s=20", "--")
    command = [
        sys.executable,
        "-m",
        "etram_mmdet.utils.rendezvous",
        *words,
        "echo",
        "-n",
        "it runs",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "it runs", "")
