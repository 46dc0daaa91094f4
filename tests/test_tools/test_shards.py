"""tools/preprocess.py in parts: by hand, in an array job, and by submitit."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from etram_mmdet.events.preprocessing import shard_reports
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.shard_summary import summary_of_shards
from etram_mmdet.events.preprocessing.summary import Outcome
from etram_mmdet.utils.shards import Shard
from tests.helpers.cli import run
from tests.helpers.raw import make_boxes, write_recording
from tests.helpers.tool_process import start
from tests.helpers.warm_python import wait_for

NAMES = [f"{split}/{name}" for split in ("train", "val", "test") for name in "ab"]


@pytest.fixture
def raw(tmp_path):
    """Six recordings; the one called test/b holds no boxes."""
    for name in NAMES:
        folder, _, stem = name.rpartition("/")
        boxes = dict(boxes=make_boxes([])) if name == "test/b" else {}
        write_recording(tmp_path / "raw" / folder, stem, **boxes)
    return tmp_path / "raw"


def content(folder):
    """Bytes of all files, without the reports of shards."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".shards" not in path.parts)
    return {path.relative_to(folder): path.read_bytes() for path in files}


def made(folder):
    return sorted(path.parent.name for path in folder.glob("*/*/sequence.json"))


def test_shards_together_make_what_one_run_makes(raw, tmp_path):
    """The summary tells what is done, has failed and is missing, and who is not started."""
    whole = str(preprocess_folder(raw, tmp_path / "one"))
    out = tmp_path / "out"
    parts = [preprocess_folder(raw, out, shard=Shard(number, 4)) for number in (1, 2)]
    assert [len(part.outcomes) for part in parts] == [2, 2]
    text = str(summary := summary_of_shards(raw, out))
    assert "shards: 2 of 4 have ended\n  shards not started: 3, 4\nMISSING 2 of 6" in text
    assert summary.unfinished and len(made(out)) + len(summary.problems) == 4
    for number in (3, 4):
        preprocess_folder(raw, out, shard=Shard(number, 4))
    summary = summary_of_shards(raw, out)
    assert str(summary) == whole and "b_bbox.npy: holds no boxes" in whole
    assert not summary.unfinished and len(summary.problems) == 1
    assert content(out) == content(tmp_path / "one")


def test_the_newest_word_about_a_recording_counts(raw, tmp_path):
    out = tmp_path / "out"
    preprocess_folder(raw, out, shard=Shard(1, 1))
    write_recording(raw / "test", "b")
    preprocess_folder(raw, out)  # without a report
    summary = summary_of_shards(raw, out)
    assert not summary.problems and len(summary.manifests) == 6


def test_a_shard_that_was_stopped_is_told(raw, tmp_path):
    out = tmp_path / "out"

    def stop(outcomes, total):
        yield next(iter(outcomes))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess_folder(raw, out, shard=Shard(1, 1), progress=stop)
    path = out / shard_reports.FOLDER / "1_of_1.json"
    report = json.loads(path.read_text())
    assert not report["has_ended"]
    lines = summary_of_shards(raw, out).unfinished
    assert "shard 1/1 works: " in lines[1] and f"process {report['holder']['pid']} on " in lines[1]
    report["holder"]["ticks"] += 1  # as of a process that has ended
    path.write_text(json.dumps(report))
    assert "shard 1/1 was stopped: " in summary_of_shards(raw, out).unfinished[1]
    path.write_text("{}")
    with pytest.raises(Exception, match="not the report of a shard"):
        summary_of_shards(raw, out)


def begin(raw, out, number):
    """Work on a shard until its first recording is done, and then without end."""

    shard_reports.WRITE_S = 0.1

    def first(outcomes, total):
        yield next(iter(outcomes))
        time.sleep(2 * shard_reports.WRITE_S)
        (out / f"begun_{number}").touch()
        time.sleep(60)

    preprocess_folder(raw, out, shard=Shard(number, 4), progress=first)


def test_the_summary_tells_a_killed_shard_from_one_at_work_and_one_never_started(raw, tmp_path):
    """Shard 1 is killed, 2 works, 3 has ended, 4 was never started; started again, all end."""
    out = tmp_path / "out"
    preprocess_folder(raw, out, shard=Shard(3, 4))
    processes = [start(begin, raw, out, number) for number in (1, 2)]
    for number in (1, 2):
        wait_for(out / f"begun_{number}")
    processes[0].kill()
    processes[0].join()
    stopped, works, never = summary_of_shards(raw, out).unfinished[1:4]
    assert stopped.startswith("  shard 1/4 was stopped: 1 of 2 recordings, process ")
    assert works.startswith("  shard 2/4 works: 1 of 2 recordings, process ")
    assert never == "  shards not started: 4"
    report = out / shard_reports.FOLDER / "2_of_4.json"
    as_of_another_machine(report, report.with_suffix(".claim"))
    assert "shard 2/4 works" in summary_of_shards(raw, out).unfinished[2]
    os.utime(report.with_suffix(".claim"), (1, 1))
    assert "shard 2/4 was stopped" in summary_of_shards(raw, out).unfinished[2]
    processes[1].kill()
    processes[1].join()
    for number in (1, 2, 4):
        preprocess_folder(raw, out, shard=Shard(number, 4))
    summary = summary_of_shards(raw, out)
    assert not summary.unfinished and len(summary.manifests) == 5


def test_a_recording_is_reported_before_the_next_one_ends(tmp_path, monkeypatch):
    """Else a killed shard would have lost why its last recording cannot be used."""
    monkeypatch.setattr(shard_reports, "WRITE_S", 0.1)
    report = shard_reports.ShardReport(tmp_path, Shard(1, 1), ["train/a", "train/b"])
    steps = report.of([Outcome("train/a", problem="no boxes"), Outcome("train/b")])
    next(steps)
    limit_s = time.monotonic() + 20
    while not (read := shard_reports.read_reports(tmp_path))[0].entries:
        assert time.monotonic() < limit_s
        time.sleep(0.02)
    assert read[0].entries["train/a"].problem == "no boxes" and read[0].is_at_work
    assert [outcome.name for outcome in steps] == ["train/b"]
    assert not list((tmp_path / shard_reports.FOLDER).glob("*.claim"))


def test_a_recording_is_reported_though_the_report_before_was_just_written(tmp_path, monkeypatch):
    """The thread of a timer that has run out lives on for a moment."""
    timers = []

    class Late(threading.Timer):
        def start(self):
            timers.append(self)

        def is_alive(self):
            return True

    monkeypatch.setattr(shard_reports, "WRITE_S", 1000)
    monkeypatch.setattr(threading, "Timer", Late)
    report = shard_reports.ShardReport(tmp_path, Shard(1, 1), ["train/a", "train/b", "train/c"])
    steps = report.of([Outcome(f"train/{name}") for name in "abc"])
    for count in (1, 2):
        next(steps)
        assert len(timers) == count
        timers[-1].function()
        assert len(shard_reports.read_reports(tmp_path)[0].entries) == count
    list(steps)


def as_of_another_machine(*paths):
    for path in paths:
        content = json.loads(path.read_text())
        content.get("holder", content)["machine"] = "another"
        path.write_text(json.dumps(content))


def test_the_last_shard_of_an_array_tells_about_all(raw, tmp_path, monkeypatch):
    """There are more shards than recordings."""
    words = (raw, tmp_path / "out", "--shard", "auto/7", "--workers", 0)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    assert "all shards have ended" not in run("tools/preprocess.py", *words)
    for number in range(2, 7):
        preprocess_folder(raw, tmp_path / "out", shard=Shard(number, 7))
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "6")
    output = run("tools/preprocess.py", *words)
    assert "recordings of shard 7/7" in output and "all shards have ended:" in output
    assert "5 recordings preprocessed, 0 were finished before, 1 problems" in output
    run("tools/preprocess.py", raw, tmp_path / "out", "--summary", ok=False)


def test_submitit_runs_all_shards_and_tells_once(raw, tmp_path):
    pytest.importorskip("submitit")
    words = ("--submitit", 2, "--submitit-options", "cluster=local")
    output = run("tools/preprocess.py", raw, tmp_path / "out", *words, ok=False)
    assert "recordings of all shards: 100%" in output
    assert output.count("recordings preprocessed") == 1 and output.count("PROBLEM") == 1
    assert "5 recordings preprocessed, 0 were finished before, 1 problems" in output
    assert "MISSING" not in output and "have ended" not in output
    preprocess_folder(raw, tmp_path / "one")
    assert content(tmp_path / "out") == content(tmp_path / "one")
