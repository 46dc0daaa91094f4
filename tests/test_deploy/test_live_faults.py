"""What goes wrong in a live run ends nothing else, is told, and leaves no half-open things."""

from __future__ import annotations

import errno
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from etram_mmdet.deploy.live import run as live_run
from etram_mmdet.deploy.live.backlog import Arrival, Backlog
from etram_mmdet.deploy.live.loop import LiveWindow, follow
from etram_mmdet.deploy.live.outputs import Outputs
from etram_mmdet.deploy.live.reader import Reader
from etram_mmdet.deploy.live.recorder import Recorder
from etram_mmdet.deploy.live.report import Report
from etram_mmdet.deploy.live.run import LiveRun, LiveSettings
from etram_mmdet.deploy.live.settings import unused_names
from etram_mmdet.deploy.live.windower import Windower
from etram_mmdet.deploy.sources import GrowingFolder, RawBytes, Replay
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.formats import open_recording
from etram_mmdet.utils.errors import InputError
from tests.helpers.live import HW, STEP_US, Clock, Packets, SlowDetector, packet, wait_until


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """Sentences to the user."""
    sentences = []
    for module in ("watchdog", "recorder", "reader", "outputs"):
        name = f"etram_mmdet.deploy.live.{module}.say"
        monkeypatch.setattr(name, lambda sentence, level: sentences.append(sentence))
    return sentences


class Hanging(Packets):
    """Gives its packets; then ``read`` does not return until it is let go."""

    def __init__(self, packets, hangs_s=60.0):
        super().__init__(packets)
        self.hangs_s = hangs_s
        self.let_go = threading.Event()
        self.is_closed = False

    def read(self, timeout_s):
        events = super().read(timeout_s)
        if events is None:
            self.let_go.wait(self.hangs_s)
        return events

    def close(self):
        self.is_closed = True


def test_a_source_that_does_not_return_is_told_and_the_program_ends(monkeypatch, told):
    monkeypatch.setattr("etram_mmdet.deploy.live.reader._END_S", 0.01)
    clock = Clock()
    source = Hanging([packet(1)])
    reader = Reader(source, Backlog(), clock=clock)
    reader.start()
    wait_until(lambda: reader.num_events == 1)
    reader.watchdog.look()
    clock.sleep(7)
    reader.watchdog.look()
    reader.stop()
    assert told[0].startswith("no event came for 7.0 s")
    assert told[1:] == ["the source did not return for 0.01 s and stays open"]
    assert not source.is_closed
    source.let_go.set()


def test_the_run_looks_at_the_watchdog(told):
    source = Hanging([packet(1)], hangs_s=0.3)
    LiveRun(SlowDetector(Clock(), 0), source, LiveSettings(silence_s=0.05))()
    assert "no event came for" in told[0]


def test_the_end_of_a_source_is_no_silence(told):
    clock = Clock()
    backlog = Backlog()
    reader = Reader(Packets([packet(1)]), backlog, clock=clock)
    reader.start()
    wait_until(lambda: backlog.take(0, True) is None)
    clock.sleep(60)
    reader.watchdog.look()
    reader.stop()
    assert told == []


def test_time_without_room_is_no_silence(told):
    clock = Clock()

    class Full(Backlog):
        def put(self, arrival):
            clock.sleep(9)
            reader.watchdog.look()

    reader = Reader(Packets([packet(1), packet()]), Full(), clock=clock)
    while reader.read_once():
        pass
    assert told == []


@pytest.mark.parametrize("packets", [[packet(10), packet(9)], [packet(1, 2), packet(5, 4)]])
def test_times_that_fall_are_refused_after_the_packets_before(packets):
    backlog = Backlog()
    reader = Reader(Packets(packets), backlog)
    reader.start()
    taken = []
    while (arrivals := backlog.take(5, True)) is not None:
        taken += [each.events for each in arrivals]
    reader.stop()
    assert "the source's times fall: after" in str(reader.error) and "Intake" in str(reader.error)
    assert [each.t.tolist() for each in taken] == [packets[0].t.tolist()]


def test_what_is_known_of_packets_is_forgotten_with_their_windows():
    """Also if nobody asks when they came, as in a replay, which has a schedule."""
    windower = Windower(STEP_US, STEP_US)
    for t_us in range(10, 300 * STEP_US, STEP_US // 10):
        windower.add(packet(t_us), 0.0)
        for end_us in windower.ends():
            windower.cut(end_us)
    assert len(windower._passed) < 30 and len(windower._parts) < 30


@pytest.mark.parametrize("apart", [True, False])
def test_a_jump_of_the_time_brings_no_hours_of_empty_windows(apart, monkeypatch):
    said = []
    monkeypatch.setattr("etram_mmdet.deploy.live.windower.say", lambda text, _: said.append(text))
    before, after = (10, STEP_US + 10), (3_600_000_010, 3_600_000_000 + STEP_US + 10)
    packets = [packet(*before), packet(*after)] if apart else [packet(*before, *after)]
    backlog = Backlog()
    for each in packets:
        backlog.put(Arrival(each, 0.0, None))
    backlog.close()
    clock = Clock()
    detector = SlowDetector(clock, 0)
    report = Report()
    seen = list(follow(backlog, detector, HW, "in-order", report, clock=clock))
    assert detector.seen == [1, 1, 1]  # the last event ends no window
    ends = [STEP_US, 2 * STEP_US, 3_600_000_000 + STEP_US]
    assert [each.window.t_us for each in seen] == ends
    assert report.skipped == seen[-1].skipped == 3_600_000_000 // STEP_US - 2
    assert len(said) == 1 and said[0].startswith("the source's time jumped ahead by 3599.9 s")


class Asked(Packets):
    """Notes which threads ask for what was dropped."""

    threads = frozenset()

    @property
    def dropped(self):
        self.threads |= {threading.current_thread().name}
        return {"events_of_a_kind": 3, "bytes_of_garbage": 4}


def test_only_the_thread_that_reads_calls_the_source(capsys):
    source = Asked([packet(1), packet(STEP_US + 1)])
    LiveRun(SlowDetector(Clock(), 0), source, LiveSettings(report_s=1e-9))()
    assert source.threads == {"reader"}
    printed = capsys.readouterr()
    assert "dropped: 3 events_of_a_kind, 4 bytes_of_garbage\n" in printed.out
    assert " 3 dropped" in printed.err  # events only


def seen(t_us: int = 50_000, rows: int = 0) -> LiveWindow:
    corners = np.ones((rows, 4), np.float32)
    scores = np.ones(rows, np.float32)
    boxes = Boxes(corners, np.zeros(rows, np.int64), scores, classes=("car",))
    return LiveWindow(SimpleNamespace(t_us=t_us, boxes=boxes), 0.0, 0)


class FullAfter:
    """A file on a disk with room for some bytes."""

    def __init__(self, file, room: int):
        self._file = file
        self._room = room

    def write(self, data):
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._file.write(data[: self._room])
        self._room -= written
        return written

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_a_full_disk_leaves_whole_lines_and_the_other_outputs_go_on(tmp_path, told):
    full, good = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    outputs = Outputs([str(full), str(good)], None)
    outputs.write(seen())
    output = outputs._outputs[0]
    output._file = FullAfter(output._file, 20)
    outputs.write(seen())
    outputs.write(seen())
    outputs.close()
    assert full.read_text().count("\n") == 1 and full.read_text().endswith("\n")
    assert good.read_text().count("\n") == 3
    assert len(outputs.failures) == 1 and "the disk is full" in outputs.failures[0]
    assert output._file.closed


def test_a_closed_terminal_ends_that_output_only(tmp_path, told, monkeypatch):
    outputs = Outputs(["-", str(tmp_path / "a.jsonl")], None)

    def broken(*_, **__):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("builtins.print", broken)
    outputs.write(seen(rows=1))
    outputs.write(seen(rows=1))
    outputs.close()
    assert (tmp_path / "a.jsonl").read_text().count("\n") == 2
    assert len(told) == 1 and told[0].startswith(
        "standard output: the program that read it has ended"
    )


def test_a_wrong_name_is_refused_before_a_file_is_overwritten(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("of an earlier run")
    with pytest.raises(InputError, match=r"--out .*a\.csv: exists already; name another file"):
        Outputs([str(table)], None)
    for names, message in (
        ([str(table), "b.txt"], "b.txt: expected - for the terminal"),
        ([str(table), str(table)], "was named twice"),
    ):
        with pytest.raises(InputError, match=message):
            Outputs(names, None)
    assert table.read_text() == "of an earlier run"


def test_the_same_command_again_writes_numbered_files(tmp_path, monkeypatch):
    """After a kill or a full disk, nothing that was recorded or found is overwritten."""
    said = []
    monkeypatch.setattr("etram_mmdet.deploy.live.settings.say", said.append)
    out = ["-", f"{tmp_path}/a.jsonl", f"{tmp_path}/a.csv", f"{tmp_path}/film.mp4"]
    settings = LiveSettings(out=out[:3], record=tmp_path / "all.raw")
    for run in range(3):
        source = Packets([packet(10), packet(STEP_US * (run + 1) + 1)])
        assert LiveRun(SlowDetector(Clock(), 0), source, settings)() == 0
    names = ["a.csv", "a.jsonl", "all.raw"]
    numbered = [name.replace(".", f"{number}.") for name in names for number in ("", "_2", "_3")]
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(numbered)
    for run, number in enumerate(("", "_2", "_3")):
        windows = (tmp_path / f"a{number}.jsonl").read_text().count("\n")
        assert windows == run + 1
        with open_recording(tmp_path / f"all{number}.raw") as opened:
            assert opened.t_last_us == STEP_US * (run + 1) + 1
    assert said[1] == "files of an earlier run are kept; this run writes " + ", ".join(
        f"{tmp_path}/{name}" for name in ("a_3.jsonl", "a_3.csv", "all_3.raw")
    )
    # one film of the second run alone gives all files of the next run the same number
    (tmp_path / "film_2.mp4").touch()
    (tmp_path / "b.csv").touch()
    again = unused_names(LiveSettings(out=[f"{tmp_path}/b.csv", out[3]], record=None))
    assert again.out == [f"{tmp_path}/b_3.csv", f"{tmp_path}/film_3.mp4"]


def test_a_named_pipe_is_written_to_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "boxes.csv")
    settings = LiveSettings(out=[str(tmp_path / "boxes.csv")])
    reader = os.open(tmp_path / "boxes.csv", os.O_RDONLY | os.O_NONBLOCK)
    LiveRun(SlowDetector(Clock(), 0), Packets([packet(1)]), settings)()
    assert os.read(reader, 1000).startswith(b"t_us,")
    os.close(reader)


def test_a_recording_into_the_folder_that_is_read_is_refused(tmp_path):
    class Folder(Packets):
        folder = GrowingFolder(tmp_path).folder

    settings = LiveSettings(record=tmp_path / "all.raw")
    with pytest.raises(InputError, match=r"all.raw: lies in the folder that is the source; name"):
        LiveRun(SlowDetector(Clock(), 0), Folder([packet(1)]), settings)()
    assert not (tmp_path / "all.raw").exists()


def test_the_source_is_not_overwritten(tmp_path):
    table = tmp_path / "a.csv"
    text = "".join(f"{t},1,2,1\n" for t in range(0, 90_000, 9))
    table.write_text("t,x,y,p\n" + text)
    source = Replay(table, float("inf"), sensor_px=HW[::-1])
    with pytest.raises(InputError, match="is the source itself"):
        LiveRun(SlowDetector(Clock(), 0), source, LiveSettings(out=[str(table)]))()
    assert table.read_text().endswith(text)


def test_a_disk_that_is_full_at_once_leaves_no_recording(tmp_path, monkeypatch):
    path = tmp_path / "a.raw"

    def append(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "_append", append)
        with pytest.raises(InputError, match="the disk is full"):
            Recorder(path, 64, 48)
    assert not path.exists()


def test_what_fails_at_the_start_closes_everything(tmp_path, monkeypatch):
    closed = []

    class Source(Packets):
        def close(self):
            closed.append("source")

    class Broken(SlowDetector):
        def look(self, image):
            raise InputError("the model")

    settings = LiveSettings(record=tmp_path / "a.raw", web_port=0)
    with pytest.raises(InputError, match="the model"):
        LiveRun(Broken(Clock(), 0), Source([packet(1)]), settings)()
    assert closed == ["source"] and not (tmp_path / "a.raw").exists()

    def no_outputs(*_):
        raise InputError("an output")

    monkeypatch.setattr(live_run, "Outputs", no_outputs)
    with pytest.raises(InputError, match="an output"):
        LiveRun(SlowDetector(Clock(), 0), Source([packet(1)]), settings)()
    assert closed == ["source", "source"] and not (tmp_path / "a.raw").exists()
    wait_until(lambda: not any(each.name == "web" for each in threading.enumerate()))


def test_a_source_that_cannot_be_opened_is_closed():
    class Source(Packets):
        def open(self):
            raise InputError("no such camera")

        def close(self):
            self.is_closed = True

    for use in (lambda source: LiveRun(None, source, LiveSettings())(), Source.__enter__):
        source = Source([])
        with pytest.raises(InputError, match="no such camera"):
            use(source)
        assert source.is_closed


def test_a_long_pause_in_a_recording_holds_nobody_up(tmp_path):
    path = tmp_path / "a.npz"
    t = np.array([0, 10, 100_000_000])
    one = np.ones(3, np.uint16)
    np.savez(path, t=t, x=one, y=one, p=one % 2, width=HW[1], height=HW[0])
    with Replay(path, float("inf")) as source:
        counts = []
        while (events := source.read(0)) is not None:
            counts.append(len(events.t))
    assert counts[0] == 2 and counts[-1] == 1 and len(counts) >= 20


def test_a_named_pipe_without_a_writer_is_told_after_the_patience(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(InputError, match=r"no event came within 0\.1 s; look at the sender"),
        RawBytes(str(tmp_path / "pipe"), patience_s=0.1),
    ):
        pass
