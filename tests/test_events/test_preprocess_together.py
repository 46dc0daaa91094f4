"""Several processes preprocess one folder and are killed or stopped: nothing is lost."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etram_mmdet.events.preprocessing import folder as preprocessing
from etram_mmdet.events.preprocessing import recording_task
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.sequence_folder import claim_of, new_folder, remove_unfinished
from etram_mmdet.utils import claims
from etram_mmdet.utils.claims import try_claim
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT
from tests.helpers.raw import make_boxes, make_events, write_recording
from tests.reliability import kill_preprocessing as faults
from tests.reliability.kill_preprocessing import contents, hidden


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return faults.make_raw(tmp_path_factory.mktemp("together") / "raw", recordings=6, seconds=1.0)


@pytest.fixture(scope="module")
def expected(raw) -> dict[str, bytes]:
    preprocess_folder(raw, raw.parent / "alone")
    return contents(raw.parent / "alone")


def test_killed_processes_on_one_folder_end_with_the_bytes_of_one(
    raw, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(claims, "BEAT_S", 0.3)
    monkeypatch.setattr(claims, "STALE_S", 4.0)
    last = faults.kill(raw, tmp_path / "out", expected, random.Random(1), count=4, processes=3)
    assert last.startswith("4 kills and ") and last.endswith(" folders, 0 faults")


def test_stopped_runs_leave_nothing_half_written(raw, expected, tmp_path):
    last = faults.stop(raw, tmp_path / "out", expected, random.Random(0), count=4)
    assert last.startswith("4 runs stopped, the longest took ") and last.endswith(
        " s to end, 0 faults"
    )


@pytest.mark.parametrize(
    ("tool", "number", "status"),
    [
        ("preprocess.py", signal.SIGINT, 130),
        ("preprocess.py", signal.SIGTERM, 143),
        ("make_sample.py", signal.SIGINT, 130),
    ],
)
def test_the_command_line_says_how_to_go_on(tmp_path, tool, number, status):
    """Two signals to all processes of the terminal, amid recordings that would take minutes."""
    if tool == "preprocess.py":
        boxes = make_boxes(range(100_000, 300_000_000, 100_000), x=10)
        write_recording(
            tmp_path / "raw" / "train", "long", make_events(100_000, 300_000_000), boxes
        )
        arguments = [tmp_path / "raw", tmp_path / "out"]
        begun = "out/train/.long.*.in_progress"
    else:
        arguments, begun = (
            [tmp_path / "out", "--seconds", "20", "--width", "96", "--height", "64"],
            "out/train/.part~*",
        )
    process = subprocess.Popen(
        [sys.executable, ROOT / "tools" / tool, *arguments, "--workers", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=faults.heed_interrupts,
    )
    while not list(tmp_path.glob(begun)):
        assert process.poll() is None
        time.sleep(0.02)
    for _ in range(2):
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status and "Traceback" not in err
    assert err.endswith(
        "stopped; finished recordings are kept, the same command goes on with the others\n"
    )
    assert faults.is_alone(process.pid) and not list(tmp_path.glob("out/*/.*"))


def test_what_another_process_makes_is_waited_for_by_name(raw, expected, tmp_path, monkeypatch):
    """The other one gives it up after a while, so it is made here."""
    out = tmp_path / "out"
    (out / "val").mkdir(parents=True)
    other = try_claim(claim_of(out / "val" / "val_2"))
    told = []

    def tell(sentence: str) -> None:
        told.append(sentence)
        assert not (out / "val" / "val_2").exists() and (out / "train" / "train_0").exists()
        other.release()

    monkeypatch.setattr(preprocessing, "LOOK_S", 0.0)
    assert not preprocess_folder(raw, out, tell=tell).problems
    (sentence,) = told
    assert sentence.startswith(
        "waiting for recordings that other processes preprocess: val/val_2 by process "
        f"{os.getpid()} on "
    )
    assert contents(out) == expected


def test_a_recording_that_was_finished_meanwhile_is_not_made_again(
    raw, expected, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    real = recording_task.try_claim
    monkeypatch.setattr(
        recording_task, "try_claim", lambda path: preprocess_meanwhile() or real(path)
    )

    def preprocess_meanwhile() -> None:
        monkeypatch.setattr(recording_task, "try_claim", real)
        preprocess_folder(raw, out)

    summary = preprocess_folder(raw, out)
    assert not summary.problems and not any(outcome.is_new for outcome in summary.outcomes)


def test_overwriting_takes_over_what_another_process_has_made_anew_since(
    raw, tmp_path, monkeypatch
):
    """Both were started to replace the same folders: each is made again once."""
    out = tmp_path / "out"
    preprocess_folder(raw, out)
    real = recording_task.preprocess_recording
    made = []

    def preprocess(source, *args) -> dict:
        if not made:
            made.append(source.name)
            other = preprocess_folder(raw, out, overwrite=True)  # finds the first one claimed
            made.extend(outcome.name for outcome in other.outcomes if outcome.is_new)
        return real(source, *args)

    monkeypatch.setattr(preprocessing, "LOOK_S", 0.0)
    monkeypatch.setattr(recording_task, "preprocess_recording", preprocess)
    monkeypatch.setattr(preprocessing, "_outcomes", lambda pool, tasks, tell: _once(pool, tasks))
    summary = preprocess_folder(raw, out, overwrite=True)
    assert not summary.problems and len(made) == 6
    assert [outcome.is_new for outcome in summary.outcomes].count(True) == 1
    assert [o.is_new for o in preprocess_folder(raw, out, overwrite=True).outcomes].count(True) == 6


def _once(pool, tasks):
    """The recordings that nobody else makes."""
    return (
        outcome for _, outcome in pool.run(recording_task.process, tasks) if outcome.maker is None
    )


def test_only_the_work_of_processes_that_have_ended_is_removed(tmp_path):
    living, dead, old = (tmp_path / "train" / name for name in ("a", "a.b", "c"))
    work = {}
    for target in (living, dead, old):
        work[target] = target.with_name(f".{target.name}.x1y2z3_4.in_progress")
        work[target].mkdir(parents=True)
    claim = try_claim(claim_of(living))
    claim_of(dead).write_text("")
    remove_unfinished(tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("*/.*"))] == [".a.claim", work[living].name]
    claim.release()
    remove_unfinished(tmp_path)
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("is_replaced", [False, True])
def test_of_two_that_make_the_same_folder_the_first_stays(tmp_path, is_replaced):
    target = tmp_path / "a"
    if is_replaced:
        target.mkdir()
        (target / "old").touch()
    with new_folder(target) as second:
        (second / "second").touch()
        with new_folder(target) as first:
            (first / "first").touch()
    assert [path.name for path in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_negative_number_of_workers_is_refused(tmp_path):
    write_recording(tmp_path / "raw" / "train", "a")
    with pytest.raises(InputError, match="-1 workers, expected 0 or more"):
        preprocess_folder(tmp_path / "raw", tmp_path / "out", workers=-1)


def test_where_no_processes_can_work_together_a_sentence_says_why(tmp_path):
    """Semaphores are files in /dev/shm, which may hold nothing here."""
    write_recording(tmp_path / "raw" / "train", "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        with pytest.raises(InputError, match=r"/dev/shm cannot be written .*use one process"):
            preprocess_folder(tmp_path / "raw", tmp_path / "out", workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
