"""A second run leaves right folders alone, makes changed ones again and refuses unclear ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from etram_mmdet.events.preprocessing import sequence_folder, source_changes
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.recording import preprocess_recording
from etram_mmdet.events.preprocessing.sequence_folder import read_manifest
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.events.preprocessing.summary import PreprocessSummary
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import make_boxes, make_events, write_recording

TIMES_US = [100_000, 200_000, 300_000]


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Recordings a and b, and what was made of them."""
    for name in "ab":
        write_recording(tmp_path / "raw" / "train", name, make_events(seed=ord(name)))
    assert len(preprocess_folder(tmp_path / "raw", tmp_path / "out").manifests) == 2
    return tmp_path / "raw", tmp_path / "out"


def made_anew(summary: PreprocessSummary) -> list[str]:
    assert not summary.problems
    return [outcome.name for outcome in summary.outcomes if outcome.is_new]


def forget_digests(out: Path) -> None:
    """Make the folders those of an earlier version."""
    for path in out.glob("*/*/sequence.json"):
        manifest = json.loads(path.read_text())
        for key in ("source_digests", "recording_time_ns", "label_files", "crc32"):
            del manifest[key]
        path.write_text(json.dumps(manifest, indent=2) + "\n")


def test_a_corrected_box_in_a_file_of_the_same_size_is_noticed(folders):
    raw, out = folders
    np.save(raw / "train" / "b_bbox.npy", make_boxes(TIMES_US, class_id=[0, 5, 0]))
    summary = preprocess_folder(raw, out)
    assert made_anew(summary) == ["train/b"]
    assert (
        "1 recordings were preprocessed again because their labels changed: train/b (b_bbox.npy)"
        in str(summary)
    )
    assert read_manifest(out / "train" / "b")["boxes_per_class_id"] == {"0": 2, "5": 1}
    assert made_anew(preprocess_folder(raw, out)) == []


def test_label_times_that_are_added_changed_or_taken_away_are_noticed(folders):
    raw, out = folders
    times = raw / "train" / "a_label_times.npy"
    for change in (
        lambda: np.save(times, [250_000]),
        lambda: np.save(times, [350_000]),
        times.unlink,
    ):
        change()
        summary = preprocess_folder(raw, out)
        assert made_anew(summary) == ["train/a"] and "train/a (a_label_times.npy)" in str(summary)


def test_the_old_folder_stays_where_the_new_labels_cannot_be_used(folders):
    raw, out = folders
    np.save(raw / "train" / "b_bbox.npy", make_boxes(TIMES_US, class_id=40))
    (problem,) = preprocess_folder(raw, out).problems
    assert "unknown class ids 40" in problem and problem.endswith(
        "out/train/b was kept and still holds the old labels"
    )
    assert read_manifest(out / "train" / "b")["num_frames"] == 3


def test_another_recording_of_the_same_size_is_refused_by_name(folders):
    raw, out = folders
    recording = raw / "train" / "b_td.h5"
    before = recording.stat()
    write_recording(raw / "train", "b", make_events(seed=7))
    assert recording.stat().st_size == before.st_size
    (problem,) = preprocess_folder(raw, out).problems
    assert (
        f"out/train/b: was made from another recording than {recording}, or this one has changed; "
        "choose another OUT or pass" in problem
    )
    assert made_anew(preprocess_folder(raw, out, overwrite=True)) == ["train/a", "train/b"]


def test_a_copied_recording_is_read_once_and_left_alone(folders, monkeypatch):
    raw, out = folders
    copied = raw / "train" / "b_td.h5"
    os.utime(copied, ns=(10**18, 10**18))
    read = []
    real = source_changes._digest
    monkeypatch.setattr(
        source_changes, "_digest", lambda path: read.append(path.name) or real(path)
    )
    assert made_anew(preprocess_folder(raw, out)) == []
    assert read.count("b_td.h5") == 1 and "a_td.h5" not in read
    assert read_manifest(out / "train" / "b")["recording_time_ns"] == 10**18
    assert made_anew(preprocess_folder(raw, out)) == []
    assert read.count("b_td.h5") == 1


def test_folders_of_an_earlier_version_stay_valid_and_are_told(folders):
    raw, out = folders
    forget_digests(out)
    os.utime(raw / "train" / "b_td.h5", ns=(10**18, 10**18))
    summary = preprocess_folder(raw, out)
    assert made_anew(summary) == []
    assert "2 were made by an earlier version, which stored only file sizes" in str(summary)
    np.save(raw / "train" / "b_bbox.npy", make_boxes([100_000]))
    summary = preprocess_folder(raw, out)
    assert made_anew(summary) == ["train/b"] and "\n1 were made by an earlier version" in str(
        summary
    )


def test_a_copied_recording_does_not_hide_damage_under_a_new_checksum(folders):
    raw, out = folders
    path = out / "train" / "b" / "sequence.json"
    path.write_text(path.read_text().replace('"num_events": ', '"num_events": 1'))
    os.utime(raw / "train" / "b_td.h5", ns=(10**18, 10**18))
    (problem,) = preprocess_folder(raw, out).problems
    assert f"{path}: changed since it was written" in problem
    assert "recording_time_ns" in path.read_text() and f"{10**18}" not in path.read_text()


@pytest.mark.parametrize(
    "change", [dict(source_digests=[1]), dict(recording_time_ns="1"), dict(crc32=[1])]
)
def test_entries_of_another_type_are_told(folders, change):
    raw, out = folders
    path = out / "train" / "b" / "sequence.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    os.utime(raw / "train" / "b_td.h5", ns=(10**18, 10**18))
    (problem,) = preprocess_folder(raw, out).problems
    assert problem.startswith(f"{path}: {next(iter(change))} is ")


def test_a_time_without_a_digest_is_another_recordings(folders):
    raw, out = folders
    path = out / "train" / "b" / "sequence.json"
    manifest = json.loads(path.read_text())
    del manifest["source_digests"], manifest["crc32"]
    path.write_text(json.dumps(manifest))
    os.utime(raw / "train" / "b_td.h5", ns=(10**18, 10**18))
    (problem,) = preprocess_folder(raw, out).problems
    assert "train/b: was made from another recording than" in problem


def test_the_old_folder_comes_back_where_a_stop_falls_between_the_two_moves(folders, monkeypatch):
    raw, out = folders
    before = (out / "train" / "b" / "sequence.json").read_bytes()
    np.save(raw / "train" / "b_bbox.npy", make_boxes([100_000]))

    def stop(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sequence_folder, "_move", stop)
    with pytest.raises(KeyboardInterrupt):
        preprocess_folder(raw, out)
    assert (out / "train" / "b" / "sequence.json").read_bytes() == before
    assert sorted(path.name for path in (out / "train").iterdir()) == ["a", "b"]


def test_etrams_other_labels_do_not_replace_what_was_made(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_recording(raw / "train", "a")
    eight = raw / "class annotations" / "eight_class_annotations_train"
    eight.mkdir(parents=True)
    shutil.copy(raw / "train" / "a_bbox.npy", eight)
    preprocess_folder(raw, out)
    (problem,) = preprocess_folder(raw, out, labels="beside").problems
    assert (
        "was made with label_files = eight_class, but beside is requested now; choose another"
        in problem
    )


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path, monkeypatch):
    write_recording(tmp_path / "train", "a")
    (source,) = find_sources(tmp_path)[0]
    real = source_changes._digest

    def replaced(path: Path) -> str:
        os.utime(source.labels, ns=(10**18, 10**18))
        return real(path)

    monkeypatch.setattr(source_changes, "_digest", replaced)
    with pytest.raises(
        InputError, match=r"train/a: a_bbox\.npy changed while it was read; run the command again"
    ):
        preprocess_recording(source, tmp_path / "out" / "a", PreprocessSettings())
    assert not list(tmp_path.glob("out/*"))


def test_a_missing_split_is_told_and_no_problem(folders):
    raw, out = folders
    summary = preprocess_folder(raw, out)
    assert summary.problems == [] and f"NOTE {raw}: no recordings for val and test" in str(summary)
    for split in ("val", "test"):
        write_recording(raw / split, "c")
    assert "NOTE" not in str(preprocess_folder(raw, out))


def test_hidden_files_are_no_recordings_and_no_labels(folders):
    """Files that another process is writing, or that macOS puts beside files of other drives."""
    raw, out = folders
    for name in ("._a_td.h5", "._a_bbox.npy", ".part~12345678~1~c_td.h5"):
        (raw / "train" / name).write_bytes(b"")
    assert made_anew(preprocess_folder(raw, out)) == []
