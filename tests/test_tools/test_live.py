"""tools/live.py: a source in; boxes, a recording and a web page out."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import threading
import time
import urllib.request
import zlib
from itertools import islice

import cv2
import numpy as np
import pytest

from etram_mmdet.apis.sinks import write_film
from etram_mmdet.deploy.live.loop import LiveWindow
from etram_mmdet.deploy.live.outputs import Film
from etram_mmdet.deploy.live.png import encode_png
from etram_mmdet.deploy.live.recorder import encode_evt2
from etram_mmdet.deploy.runtime import EventInferencer
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.preprocessing.sources import name_of
from etram_mmdet.events.recording import Events
from tests.helpers.cli import run
from tests.helpers.live import wait_until
from tests.helpers.paths import THREADS
from tests.helpers.tool_process import start_tool

ENV = {**os.environ, "OMP_NUM_THREADS": THREADS}


@pytest.fixture(scope="module")
def words(trained, raw_sample, tmp_path_factory):
    graph = tmp_path_factory.mktemp("exported") / "detector.onnx"
    run("tools/export.py", trained[0] / "iter_4.pth", graph)
    return graph, next((raw_sample / "val").glob("val_day_0000*.h5"))


def test_boxes_of_a_replay_are_those_of_detect_and_all_events_are_recorded(words, tmp_path):
    options = ["--score-thr", 1e-5]
    run("tools/detect.py", *words, "--out", tmp_path / "offline.csv", *options)
    outputs = [tmp_path / "live.csv", tmp_path / "live.jsonl", tmp_path / "live.mp4"]
    record = ["--record", tmp_path / "all.raw", "--speed", 4]
    told = run("tools/live.py", *words, "--out", *outputs, *record, *options)
    assert "39 windows" in told and " 0 windows skipped, 0 windows dropped" in told
    assert "late p50 " in told and "events recorded" in told
    assert outputs[0].read_text() == (tmp_path / "offline.csv").read_text()
    lines = [json.loads(line) for line in outputs[1].read_text().splitlines()]
    assert len(lines) == 39
    rows = len(outputs[0].read_text().splitlines()) - 1
    assert sum(len(line["boxes"]) for line in lines) == rows > 100
    assert outputs[2].stat().st_size > 1000
    with open_recording(words[1]) as one, open_recording(tmp_path / "all.raw") as other:
        both = [each.read(each.t_first_us, each.t_last_us) for each in (one, other)]
    assert all(np.array_equal(*columns) for columns in zip(*both, strict=True))


def test_the_film_is_that_of_detect(words, tmp_path):
    inferencer = EventInferencer(words[0], score_thr=1e-5)
    with open_recording(words[1]) as opened:
        windows = list(islice(inferencer.windows(opened), 5))
        write_film(tmp_path / "detect.mp4", windows, inferencer, opened)
        film = Film(tmp_path / f"{name_of(words[1])}.mp4", inferencer)
    for window in windows:
        film.write(LiveWindow(window, 0.0, 0))
    film.close()
    expected, found = (_pictures(each) for each in (tmp_path / "detect.mp4", film.path))
    assert len(found) == 5 and found[0].shape[1] >= 900
    assert all(np.array_equal(*both) for both in zip(expected, found, strict=True))


def _pictures(film) -> list[np.ndarray]:
    reader = cv2.VideoCapture(str(film))
    pictures = []
    while (read := reader.read())[0]:
        pictures.append(read[1])
    return pictures


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_whole_files_and_a_summary(words, tmp_path, number, status):
    output = tmp_path / "output.txt"
    line = ["tools/live.py", *map(str, words), "--speed", "0.2", "--report-s", "0.1"]
    line += ["--out", f"{tmp_path}/a.jsonl", "--record", f"{tmp_path}/a.raw"]
    process = start_tool(line, ENV, output)
    while process.is_alive() and not (output.exists() and "windows, " in output.read_text()):
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join(60)
    text = output.read_text()
    assert process.exitcode == status and "Traceback" not in text, text
    assert text.splitlines()[-1].endswith("events recorded")
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    with open_recording(tmp_path / "a.raw") as opened:
        assert f"{len(opened.read(opened.t_first_us, opened.t_last_us).t):,} events" in text


def test_a_terminal_that_is_closed_ends_it_with_whole_files(words, tmp_path):
    ours, theirs = os.openpty()
    line = ["tools/live.py", *map(str, words), "--speed", "0.2", "--report-s", "0.1"]
    line += ["--out", "-", f"{tmp_path}/a.jsonl", f"{tmp_path}/a.mp4"]
    line += ["--record", f"{tmp_path}/a.raw", "--score-thr", "1e-5"]
    process = start_tool(line, ENV, os.ttyname(theirs))
    told = b""
    while b"windows, " not in told:
        told += os.read(ours, 1000)
    os.close(theirs)
    os.close(ours)  # from now on writing to the terminal fails
    os.kill(process.pid, signal.SIGHUP)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGHUP, told
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert 0 < len(lines) == len(_pictures(tmp_path / "a.mp4"))
    with open_recording(tmp_path / "a.raw") as opened:
        assert len(opened.read(0, lines[-1]["t_us"]).t) > 100


def test_a_reader_that_has_enough_ends_the_terminal_only(words, tmp_path):
    """As ``tools/live.py ... 2>&1 | head -1``."""
    os.mkfifo(tmp_path / "pipe")
    line = ["tools/live.py", *map(str, words), "--speed", "inf", "--score-thr", "1e-5"]
    line += ["--out", "-", f"{tmp_path}/a.jsonl", "--record", f"{tmp_path}/a.raw"]
    process = start_tool(line, ENV, tmp_path / "pipe")
    with (tmp_path / "pipe").open() as pipe:
        pipe.readline()
    process.join(60)
    assert process.exitcode == 1
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 39
    with open_recording(words[1]) as one, open_recording(tmp_path / "a.raw") as other:
        assert one.t_last_us == other.t_last_us


def test_the_page_shows_the_latest_window(words, tmp_path):
    output = tmp_path / "output.txt"
    line = ["tools/live.py", *map(str, words), "--speed", "0.2", "--web", "0"]
    line += ["--score-thr", "1e-5"]
    process = start_tool(line, ENV, output)
    while process.is_alive() and not (output.exists() and "page: " in output.read_text()):
        time.sleep(0.01)
    url = output.read_text().partition("page: ")[2].split()[0]
    assert url.startswith("http://127.0.0.1:")
    page = urllib.request.urlopen(url, timeout=10).read().decode()
    assert "<canvas" in page and "http" not in page  # loads nothing from elsewhere
    state = {}
    while not state.get("boxes"):
        with urllib.request.urlopen(f"{url}latest.json?after=-1", timeout=10) as answer:
            state = json.load(answer)
    assert (state["width"], state["height"]) == (96, 64)
    assert state["counts"]["skipped windows"] == "0"
    assert {"xyxy", "score", "class", "label"} == set(state["boxes"][0])
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143


def test_a_port_in_use_is_a_sentence_and_no_file_is_touched(words, tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("of an earlier run")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        options = ["--web", port, "--out", table, "--record", tmp_path / "a.raw"]
        told = run("tools/live.py", *words, *options, ok=False)
    assert f"error: --web {port}: the port cannot be used on 127.0.0.1: Address already" in told
    assert table.read_text() == "of an earlier run" and not (tmp_path / "a.raw").exists()


def test_a_sensor_of_another_size_is_a_sentence(words, tmp_path):
    other = tmp_path / "b.npz"
    one = np.arange(1000)
    np.savez(other, t=one, x=one % 30, y=one % 20, p=one % 2, width=32, height=24)
    told = run("tools/live.py", words[0], other, ok=False)
    assert "error: the source has a sensor of 32x24 pixels" in told and "--sensor 32 24" in told


def test_a_source_that_stalls_begins_again_and_sends_garbage(words, tmp_path):
    """What came before the garbage is processed and recorded, and everything is told."""
    os.mkfifo(tmp_path / "pipe")
    rng = np.random.default_rng(0)

    def part(first_us: int) -> bytes:
        t = first_us + np.arange(0, 500_000, 100)
        x, y = rng.integers(0, [[96], [64]], (2, len(t))).astype(np.uint16)
        events = Events(t, x, y, (x & 1).astype(np.uint8))
        return encode_evt2(events, np.full(1, -1, np.int64)).tobytes()

    def send() -> None:
        with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            pipe.write(b"% evt 2.0\n% geometry 96x64\n% end\n")
            for number, first_us in enumerate((10_000_000, 10_500_000, 2_000_000, 2_500_000)):
                pipe.write(part(first_us))
                wait_until(lambda num=number + 1: _size(tmp_path / "a.raw") >= num * 38_000)
                if number == 0:
                    time.sleep(0.8)
            pipe.write(rng.bytes(1 << 18))

    threading.Thread(target=send).start()
    options = ["--out", tmp_path / "a.jsonl", "--record", tmp_path / "a.raw", "--silence-s", 0.3]
    told = run("tools/live.py", words[0], tmp_path / "pipe", *options, ok=False)
    for sentence in (
        "no event came for",
        "events come again",
        "its clock stepped back by 9.0 s",
        "bytes in a row cannot be used",
    ):
        assert sentence in told, told
    assert "Traceback" not in told
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) >= 39
    with open_recording(tmp_path / "a.raw") as opened:
        assert len(opened.read(0, 12_500_000).t) == 20_000


def _size(path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_png_holds_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    data = encode_png(image)
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR"
    assert struct.unpack(">II", data[16:24]) == (7, 5)
    (size,) = struct.unpack(">I", data[33:37])
    rows = np.frombuffer(zlib.decompress(data[41 : 41 + size]), np.uint8).reshape(5, 22)
    assert not rows[:, 0].any() and np.array_equal(rows[:, 1:].reshape(5, 7, 3), image)


def test_the_proofs_in_real_time_run(words):
    """At full size they take 40 minutes: docs/live.md has their numbers."""
    parts = ["replay", "newest", "memory", "night", "burst"]
    told = run("tests/proofs/live.py", *words, "--small", "--only", *parts)
    assert "replay: 39 windows" in told and "boxes equal to offline" in told
    assert "newest: " in told and "windows' time late" in told
    assert "memory: 999 windows" in told and "grew by " in told
    assert "night: 79 windows" in told
    seen, dropped = re.search(r"burst: (\d+) windows, .* (\d+) windows dropped", told).groups()
    assert int(seen) + int(dropped) == 59  # how many depends on the machine
