"""RAW bytes from pipes and sockets, and senders that end, stall, break off or send garbage."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

from etram_mmdet.deploy.sources import RawBytes
from etram_mmdet.deploy.sources.intake import joined
from etram_mmdet.events.formats import open_recording
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import write_evt3
from tests.helpers.paths import ROOT
from tests.helpers.raw import HEIGHT, WIDTH, make_events

WAIT_S = 20.0  # of a test that fails


@pytest.fixture
def path(tmp_path):
    return write_evt3(tmp_path / "a.raw", make_events())


@pytest.fixture
def sender():
    """A socket on which a sender listens, and a way to let it act in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = []

        def act(*actions):
            def run():
                connection, _ = server.accept()
                with connection:
                    for action in actions:
                        action(connection)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return f"tcp://127.0.0.1:{server.getsockname()[1]}"

        yield act
        for thread in threads:
            thread.join(WAIT_S)


def rest_of(source):
    found = []
    while (events := source.read(WAIT_S)) is not None:
        found.append(events)
    return joined(*found)


def assert_whole(found, path):
    with open_recording(path) as recording:
        for column, other in zip(found, recording.read(0, 1 << 60), strict=True):
            np.testing.assert_array_equal(column, other)


def test_a_tcp_socket(sender, path):
    with RawBytes(sender(lambda to: to.sendall(path.read_bytes()))) as source:
        assert (source.width, source.height) == (WIDTH, HEIGHT)
        assert source.can_wait
        assert_whole(rest_of(source), path)
        assert source.read(0) is None


def test_a_unix_socket(tmp_path, path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()

        def send():
            with server.accept()[0] as to:
                to.sendall(path.read_bytes())

        thread = threading.Thread(target=send)
        thread.start()
        with RawBytes(f"unix:{tmp_path / 'socket'}") as source:
            assert_whole(rest_of(source), path)
        thread.join(WAIT_S)


def test_a_named_pipe(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(path.read_bytes()))
    thread.start()
    with RawBytes(str(tmp_path / "pipe")) as source:
        assert_whole(rest_of(source), path)
    thread.join(WAIT_S)


@pytest.mark.parametrize("way", ["cat {path} | {program}", "{program} < {path}"])
def test_standard_input(path, way):
    program = (
        "from etram_mmdet.deploy.sources import open_source\n"
        "with open_source('-') as source:\n"
        "    num = 0\n"
        "    while (events := source.read(20)) is not None: num += len(events.t)\n"
        "print(num, source.width, source.height)"
    )
    command = way.format(path=path, program=f'{sys.executable} -c "{program}"')
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"4000 {WIDTH} {HEIGHT}\n", done.stderr


def test_a_sender_that_stalls_gives_nothing_and_may_go_on(sender, path):
    data = path.read_bytes()
    goes_on = threading.Event()
    address = sender(
        lambda to: to.sendall(data[:20_001]),
        lambda to: goes_on.wait(WAIT_S),
        lambda to: to.sendall(data[20_001:]),
    )
    with RawBytes(address) as source:
        found = [source.read(WAIT_S)]
        while len((events := source.read(0.1)).t):
            found.append(events)
        assert len(source.read(0).t) == 0
        assert 0 < sum(len(each.t) for each in found) < 4000
        goes_on.set()
        found.append(rest_of(source))
    assert_whole(joined(*found), path)


def test_a_connection_that_breaks_is_told_after_the_last_event(sender, path):
    data = path.read_bytes()

    def reset(to):
        to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    may_break = threading.Event()
    address = sender(lambda to: to.sendall(data[:20_000]), lambda to: may_break.wait(WAIT_S), reset)
    with RawBytes(address) as source:
        num_events = len(source.read(WAIT_S).t)
        may_break.set()
        with pytest.raises(InputError, match=r"^tcp://.* the connection broke: .*reset"):
            while (events := source.read(WAIT_S)) is not None:
                num_events += len(events.t)
        with pytest.raises(InputError, match=r"the connection broke"):
            source.read(0)
    assert num_events > 1000


def test_a_sender_that_ends_in_the_middle_of_a_word_gives_what_it_sent(sender, path):
    data = path.read_bytes()
    with RawBytes(sender(lambda to: to.sendall(data[:-3]))) as source:
        assert len(rest_of(source).t) == 3999
        assert source.dropped == {"bytes_after_last_word": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ended before the first event"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "sends no events .*HTTP"),
        (b"% evt 4.0\n% end\n" + bytes(100), "EVT 4.0; expected EVT 2.0, 2.1 or 3.0"),
    ],
)
def test_a_sender_of_something_else_is_refused_when_it_is_opened(sender, data, message):
    with pytest.raises(InputError, match=f"^tcp://.*{message}"):
        with RawBytes(sender(lambda to: to.sendall(data))):
            pass


@pytest.mark.parametrize("stalls", [False, True])
def test_garbage_after_events_is_refused_and_the_events_are_not_lost(sender, path, stalls):
    garbage = np.random.default_rng(0).bytes(100_000)
    may_end = threading.Event()
    address = sender(
        lambda to: to.sendall(path.read_bytes() + garbage),
        lambda to: may_end.wait(WAIT_S if stalls else 0),
    )
    with RawBytes(address) as source:
        num_events = 0
        with pytest.raises(InputError, match=r"\d+ bytes in a row cannot be used"):
            for _ in range(20):
                events = source.read(0.2)
                assert events is not None
                num_events += len(events.t)
    may_end.set()
    assert num_events >= 4000


def test_a_short_stream_of_another_sensor_is_refused_at_its_end(sender, path):
    data = path.read_bytes().replace(f"{WIDTH}x{HEIGHT}".encode(), b"4x4")
    with RawBytes(sender(lambda to: to.sendall(data))) as source:
        with pytest.raises(InputError, match=r"sensor is not 4x4 pixels large"):
            rest_of(source)


def test_a_silent_sender_is_told_after_the_patience_of_the_reader(sender):
    may_end = threading.Event()
    address = sender(lambda to: may_end.wait(WAIT_S))
    with pytest.raises(InputError, match=r"no event came within 0.1 s; look at the sender"):
        with RawBytes(address, patience_s=0.1):
            pass
    may_end.set()


def test_a_sender_that_is_not_there_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"tcp://127.0.0.1:{port}", f"unix:{tmp_path / 'missing'}"):
        with pytest.raises(InputError, match=r"cannot be opened: .*; start the sender first"):
            RawBytes(address).open()


def test_a_terminal_is_not_read(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(InputError, match=r"is a terminal; pipe RAW bytes into this program"):
        RawBytes("-").open()
