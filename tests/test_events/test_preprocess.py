from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.formats import hdf5
from etram_mmdet.events.labels import BBOX_DTYPE, load_boxes
from etram_mmdet.events.preprocessing import recording as preprocess
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.sequence_folder import read_manifest
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import structured
from tests.helpers.raw import HEIGHT, WIDTH, make_boxes, make_events, write_recording
from tests.reference.answers import DATA
from tests.reference.recordings import GEN1_RECORDINGS, write_recordings

OURS = ("sequence.json", "ignored_boxes.npy")  # beside the reference's files

ROOT = Path(__file__).parents[2]


@pytest.fixture
def raw(tmp_path) -> Path:
    """A dataset of four good recordings."""
    for split, names in dict(train=("a", "b"), val=("c",), test=("d",)).items():
        for name in names:
            write_recording(tmp_path / "raw" / split, name, make_events(seed=ord(name)))
    return tmp_path / "raw"


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tensors_of(folder: Path, manifest: dict) -> np.ndarray:
    with h5py.File(folder / manifest["representation_path"]) as file:
        return file["data"][()]


def assert_same_tensors(ours: Path, theirs: Path) -> None:
    """Same values, stored in the same way (compression, chunks, type)."""
    with h5py.File(ours) as a, h5py.File(theirs) as b:
        for attribute in ("shape", "dtype", "chunks", "maxshape", "_filters"):
            assert getattr(a["data"], attribute) == getattr(b["data"], attribute)
        for index in range(len(a["data"])):
            assert np.array_equal(a["data"][index], b["data"][index]), f"{ours}: tensor {index}"


def saved_again(path: Path) -> bytes:
    """The file as this version of NumPy writes it."""
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        with np.load(path) as file:
            np.savez(buffer, **file)
    else:
        np.save(buffer, np.load(path))
    return buffer.getvalue()


def assert_equals_the_reference(ours: Path, theirs: Path) -> None:
    """The same files with the same bytes, beside ours."""
    expected = sorted(path.relative_to(theirs) for path in theirs.rglob("*") if path.is_file())
    written = sorted(path.relative_to(ours) for path in ours.rglob("*") if path.is_file())
    assert [path for path in written if path.name not in OURS] == expected
    for path in expected:
        if path.suffix == ".h5":
            assert_same_tensors(ours / path, theirs / path)
        else:
            assert (ours / path).read_bytes() == saved_again(theirs / path)


@pytest.mark.parametrize("preset", ["etram", "gen4"])
def test_equals_the_reference(reference_raw, tmp_path, preset):
    summary = preprocess_folder(
        reference_raw, tmp_path, PreprocessSettings(preset=preset), workers=2
    )
    assert not summary.problems and len(summary.manifests) == 4
    assert_equals_the_reference(tmp_path, DATA / f"preprocessed_{preset}")


def test_a_preset_that_keeps_nothing_is_a_problem(tmp_path):
    write_recordings(tmp_path / "raw", GEN1_RECORDINGS[-1:], "td.dat")
    (problem,) = preprocess_folder(
        tmp_path / "raw", tmp_path / "out", PreprocessSettings(preset="gen1")
    ).problems
    assert (
        "the filters of --preset gen1 leave no box in any recording; choose another preset"
        in problem
    )
    (problem,) = preprocess_folder(tmp_path / "raw", tmp_path / "out").problems
    assert "no box is left after filtering (boxes_too_small 8)" in problem


def test_downloads_of_rvt_have_their_names(tmp_path):
    """``NAME_td.dat.h5`` without a size in it, beside ``NAME_bbox.npy``."""
    write_recordings(tmp_path / "raw", GEN1_RECORDINGS[1:2], "td.dat.h5")
    (manifest,) = preprocess_folder(
        tmp_path / "raw", tmp_path / "out", PreprocessSettings(preset="gen1")
    ).manifests
    assert manifest["recording"] == GEN1_RECORDINGS[1].name and manifest[
        "representation_shape"
    ] == [20, 240, 304]


def test_small_boxes_are_kept_beside_the_references_files(reference_raw, tmp_path):
    """Those of frames in use and of known classes, by the letter of the rules."""
    preprocess_folder(reference_raw, tmp_path, PreprocessSettings(preset="gen4"), workers=2)
    total = 0
    for labels in reference_raw.glob("*/*_bbox.npy"):
        folder = tmp_path / labels.parent.name / labels.name.removesuffix("_bbox.npy")
        boxes = load_boxes(labels)
        kept = np.load(folder / "ignored_boxes.npy")
        frames = np.load(folder / "labels_v2" / "timestamps_us.npy")
        right = np.clip(boxes["x"] + boxes["w"], 0, 1279) - np.clip(boxes["x"], 0, 1279)
        below = np.clip(boxes["y"] + boxes["h"], 0, 719) - np.clip(boxes["y"], 0, 719)
        small = (right > 0) & (below > 0) & ((right < 5) | (below < 5))
        expected = boxes[small & (boxes["class_id"] <= 2) & np.isin(boxes["t"], frames)]
        for name in ("t", "track_id", "class_id"):
            assert kept[name].tolist() == expected[name].tolist()
        assert kept.dtype == BBOX_DTYPE and ((kept["w"] < 5) | (kept["h"] < 5)).all()
        total += len(kept)
    assert total > 0


def test_real_labelled_recordings_shorter_than_a_window(shared, tmp_path):
    summary = preprocess_folder(shared / "data" / "pedro", tmp_path, workers=2)
    assert not summary.problems and len(summary.manifests) == 9
    assert "frame rule: all 9" in str(summary)
    for manifest in summary.manifests:
        folder = tmp_path / manifest["split"] / manifest["recording"]
        tensors = tensors_of(folder, manifest)
        assert tensors.shape == (1, 20, 130, 173)
        assert tensors.any()
        labels = np.load(folder / "labels_v2" / "labels.npz")["labels"]
        np.testing.assert_array_equal(
            np.unique(labels["t"]), np.load(folder / "labels_v2" / "timestamps_us.npy")
        )


def test_manifest_says_what_the_sequence_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "_EVENTS_PER_BLOCK", 256)
    events = make_events()
    events["x"][[3, 700]], events["y"][3900] = (
        WIDTH,
        33014,
    )  # the last one long after the last label
    events["t"][2000] -= 5000
    boxes = make_boxes(
        [100_000, 200_000, 250_000, 250_000, 250_000],
        class_id=[0, 7, 7, 1, 1],
        w=[20, 20, 20, 3, 63],
    )
    boxes["x"] = [10, 10, 10, 10, 0]
    write_recording(tmp_path / "raw" / "train", "a", events, boxes)
    manifest = preprocess_folder(
        tmp_path / "raw",
        tmp_path / "out",
        PreprocessSettings(representation=dict(type="StackedHistogram")),
    ).manifests[0]
    folder = tmp_path / "out/train/a"
    assert manifest == read_manifest(folder)
    assert manifest["dropped"] == {
        "events_out_of_frame": 3,
        "boxes_not_finite": 0,
        "boxes_other_class": 0,
        "boxes_outside": 0,
        "boxes_too_small": 1,
        "boxes_too_wide": 1,
        "label_frames_not_used": 0,
        "boxes_in_unused_frames": 0,
    }
    expected = {
        "format_version": 2,
        "recording": "a",
        "width": WIDTH,
        "height": HEIGHT,
        "representation_shape": [20, HEIGHT, WIDTH],
        "representation_path": "event_representations_v2/stacked_histogram_dt=50_nbins=10/"
        "event_representations.h5",
        "window_us": 50_000,
        "num_events": 4000,
        "t_first_us": int(events["t"][0]),
        "t_last_us": int(events["t"][-1]),
        "stamps_corrected": 1,
        "frame_rule": "all",
        "num_frames": 3,
        "frames_without_events": 0,
        "boxes_per_class_id": {"0": 1, "7": 2},
    }
    assert expected.items() <= manifest.items()
    assert (folder / manifest["representation_path"]).is_file()
    # The other events are all there (no pixel is hit so often that its count is cut).
    repr_us = np.load((folder / manifest["representation_path"]).with_name("timestamps_us.npy"))
    t = np.maximum.accumulate(events["t"])
    inside = (events["x"] < WIDTH) & (events["y"] < HEIGHT)
    windows = [np.count_nonzero(inside & (t >= end - 50_000) & (t <= end)) for end in repr_us]
    assert tensors_of(folder, manifest).sum(axis=(1, 2, 3), dtype=int).tolist() == windows


def test_workers_and_restart_after_a_failure_do_not_change_a_byte(raw, tmp_path, monkeypatch):
    preprocess_folder(raw, tmp_path / "one", workers=1)
    preprocess_folder(raw, tmp_path / "three", workers=3)
    assert file_bytes(tmp_path / "one") == file_bytes(tmp_path / "three")

    real, calls = preprocess.write_manifest, []

    def fail_second(folder, manifest):
        calls.append(folder)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(folder, manifest)

    monkeypatch.setattr(preprocess, "write_manifest", fail_second)
    summary = preprocess_folder(
        raw, tmp_path / "again"
    )  # in this process, where write_manifest is replaced
    assert ["cannot be written: the disk is full (" in p for p in summary.problems] == [True]
    assert len(file_bytes(tmp_path / "again")) == 3 * 7
    summary = preprocess_folder(raw, tmp_path / "again", workers=1)
    assert [outcome.is_new for outcome in summary.outcomes].count(True) == 1
    assert file_bytes(tmp_path / "again") == file_bytes(tmp_path / "one")


# A worker kills the main process just before it finishes recording c, and then waits for a minute.
KILLED_RUN = """
import os, signal, sys, time
from etram_mmdet.events.preprocessing import recording
from etram_mmdet.events.preprocessing.folder import preprocess_folder
real = recording.write_manifest

def write_manifest(folder, manifest):
    if manifest["recording"] == "c":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    real(folder, manifest)

recording.write_manifest = write_manifest
preprocess_folder(*sys.argv[1:], workers=2)
"""


def test_killed_run_goes_on_to_the_same_bytes(raw, tmp_path):
    preprocess_folder(raw, tmp_path / "undisturbed")
    out = tmp_path / "out"
    # The pipes stay open until the workers have ended too.
    command = [sys.executable, "-c", KILLED_RUN, raw, out]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=40)
    assert killed.returncode == -signal.SIGKILL
    assert list(out.glob("val/.c.*.in_progress/new/labels_v2")) and not (out / "val" / "c").exists()
    for manifest in out.glob("*/[a-d]/sequence.json"):  # whatever has its final name is complete
        folder = manifest.parent.relative_to(out)
        assert file_bytes(out / folder) == file_bytes(tmp_path / "undisturbed" / folder)
    preprocess_folder(raw, out, workers=2)
    assert file_bytes(out) == file_bytes(tmp_path / "undisturbed")


def test_other_settings_are_not_mixed_in(raw, tmp_path):
    out = tmp_path / "out"
    preprocess_folder(raw, out)
    before = file_bytes(out)
    other = PreprocessSettings(representation=dict(type="StackedHistogram", count_cutoff=5))
    summary = preprocess_folder(raw, out, other)
    assert len(summary.problems) == 4
    assert (
        "'downsample': 'nearest'}, but {'type': 'StackedHistogram', 'count_cutoff': 5} is requested"
        in (summary.problems[0])
    )
    assert file_bytes(out) == before
    assert not preprocess_folder(raw, out, other, overwrite=True).problems
    assert {
        m["representation"]["count_cutoff"] for m in preprocess_folder(raw, out, other).manifests
    } == {5}


def test_a_time_surface_of_an_earlier_version_is_not_taken_for_a_new_one(raw, tmp_path):
    """Its age counts from the last event; name and settings of the folder say nothing of it."""
    out = tmp_path / "out"
    before = PreprocessSettings(representation=dict(type="TimeSurface", edges="events"))
    preprocess_folder(raw, out, before)
    for manifest in out.glob("*/*/sequence.json"):
        content = json.loads(manifest.read_text())
        del content["representation"]["edges"]
        del content["crc32"]  # which that version did not write
        manifest.write_text(json.dumps(content))
    assert not preprocess_folder(raw, out, before).problems
    now = PreprocessSettings(representation=dict(type="TimeSurface"))
    summary = preprocess_folder(raw, out, now)
    assert len(summary.problems) == 4
    assert (
        "but {'type': 'TimeSurface', 'edges': 'window'} is requested now; choose another OUT or"
        in str(summary)
    )
    with pytest.raises(
        InputError,
        match=r"no .*_edges=window/.* \(found: .*/time_surface_dt=50/.*preprocess the rec",
    ):
        FolderSequence(out / "train/a", now.representation, 50_000, get_class_set("etram8"))
    old = FolderSequence(
        out / "train/a", dict(type="TimeSurface", edges="events"), 50_000, get_class_set("etram8")
    )
    assert old.read(1, 2).max() == 255  # the last event


def test_folder_of_unknown_origin_is_left_alone(raw, tmp_path):
    (tmp_path / "out/val/c").mkdir(parents=True)
    summary = preprocess_folder(raw, tmp_path / "out")
    assert len(summary.problems) == 1 and "no sequence.json" in summary.problems[0]
    assert not list((tmp_path / "out/val/c").iterdir())


def break_events(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


BAD_RECORDINGS = {
    "truncated events": (break_events, "c_td.h5: the HDF5 file is truncated"),
    "empty recording": (
        lambda p: write_recording(p.parent, "c", make_events(0)),
        "c_td.h5: the recording holds no ev",
    ),
    "no label file": (
        lambda p: (p.parent / "c_bbox.npy").unlink(),
        "c_td.h5: no labels c_bbox.npy beside it",
    ),
    "no recording": (lambda p: p.unlink(), "c_bbox.npy: no recording c_td.h5 beside it"),
    "no boxes": (
        lambda p: write_recording(p.parent, "c", boxes=make_boxes([])),
        "c_bbox.npy: holds no boxes",
    ),
    "tiny boxes": (
        lambda p: write_recording(p.parent, "c", boxes=make_boxes([100_000], w=3)),
        "c_bbox.npy: no box is left after filtering (boxes_too_small 1) on a sensor of 64x48",
    ),
    "boxes without numbers": (
        lambda p: write_recording(p.parent, "c", boxes=make_boxes([100_000], w=np.nan)),
        "c_bbox.npy: no box is left after filtering (boxes_not_finite 1)",
    ),
    "two recordings of one name": (
        lambda p: shutil.copy(p, p.with_name("c.h5")),
        "c_td.h5: 2 files belong to recording c, expected one; keep one of them",
    ),
    "unknown ids": (
        lambda p: write_recording(p.parent, "c", boxes=make_boxes([100_000], class_id=12)),
        "c_bbox.npy: unknown class ids 12, expected 0 to 7",
    ),
    "another clock": (
        lambda p: write_recording(p.parent, "c", make_events(start_us=10**15)),
        "c_bbox.npy: 3 of 3 label times lie before the first event, up to 1,000,000,000 s; "
        "likely cause: the labels count",
    ),
    "labels before the start": (
        lambda p: write_recording(p.parent, "c", make_events(start_us=2_000_000)),
        "c_bbox.npy: 3 of 3 label times lie before the first event, up to 1.9 s; "
        "likely cause: the labels count from the",
    ),
    "labels after the end": (
        lambda p: write_recording(p.parent, "c", boxes=make_boxes([9_000_000])),
        "c_bbox.npy: 1 of 1 label times lie after the last event, up to 8.6 s; "
        "likely cause: labels of another record",
    ),
}


@pytest.mark.parametrize("case", BAD_RECORDINGS)
def test_bad_recording_becomes_a_sentence_and_the_others_go_on(raw, tmp_path, case):
    spoil, sentence = BAD_RECORDINGS[case]
    spoil(raw / "val" / "c_td.h5")
    summary = preprocess_folder(raw, tmp_path / "out", workers=2)
    assert len(summary.problems) == 1
    assert sentence in summary.problems[0] and sentence in str(summary)
    assert [manifest["recording"] for manifest in summary.manifests] == ["d", "a", "b"]
    assert not list(tmp_path.glob("out/val/*"))


def test_folder_without_recordings_names_the_sample_maker(tmp_path):
    with pytest.raises(InputError, match=r"no recordings .* tools/make_sample\.py"):
        preprocess_folder(tmp_path, tmp_path / "out")


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="bins=0, expected a whole number of at least 1"):
        PreprocessSettings(representation=dict(type="StackedHistogram", bins=0))
    with pytest.raises(InputError, match="preset must be one of etram, gen4, gen1: got 'gen3'"):
        PreprocessSettings(preset="gen3")


def test_unfinished_manifest_is_refused(tmp_path):
    (tmp_path / "sequence.json").write_text('{"format_version"')
    with pytest.raises(InputError, match="not valid JSON"):
        read_manifest(tmp_path)
    (tmp_path / "sequence.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(InputError, match="format version 99, expected 2"):
        read_manifest(tmp_path)


def test_a_stated_sensor_size_is_kept_on_a_restart(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / "raw" / split).mkdir(parents=True)
        np.save(tmp_path / "raw" / split / "a_td.npy", structured(make_events()))
        np.save(tmp_path / "raw" / split / "a_bbox.npy", make_boxes([100_000, 200_000]))
    settings = PreprocessSettings(sensor_px=(WIDTH, HEIGHT))
    for new in (3, 0):
        summary = preprocess_folder(tmp_path / "raw", tmp_path / "out", settings)
        assert [outcome.is_new for outcome in summary.outcomes].count(
            True
        ) == new and not summary.problems
    assert summary.manifests[0]["representation_shape"] == [20, HEIGHT // 2, WIDTH // 2]
    guessed = preprocess_folder(tmp_path / "raw", tmp_path / "guessed")
    assert "sensor size not in the file, taken as 304x240 for test/a" in str(guessed)
    with pytest.raises(InputError, match="sensor_px must be a width and a height"):
        PreprocessSettings(sensor_px=(0, 5))


def test_output_of_an_older_version_is_named(raw, tmp_path):
    preprocess_folder(raw, tmp_path / "out")
    manifest = tmp_path / "out/train/a/sequence.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 2', '"format_version": 1'))
    summary = preprocess_folder(raw, tmp_path / "out")
    assert len(summary.problems) == 1
    assert (
        "format version 1, expected 2; preprocess the recording again; choose another OUT or pass "
        "--overwrite" in (summary.problems[0])
    )
    assert not preprocess_folder(raw, tmp_path / "out", overwrite=True).problems


def test_output_that_cannot_be_written_is_a_sentence(raw, tmp_path):
    (tmp_path / "out").write_text("a file")
    summary = preprocess_folder(raw, tmp_path / "out")
    assert len(summary.problems) == 4
    assert all(
        p.endswith("a part of its path is a file; name a folder elsewhere")
        for p in summary.problems
    )


FULL_DISK = """
import resource, signal, sys
from etram_mmdet.events.preprocessing.folder import preprocess_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
print(preprocess_folder(sys.argv[1], sys.argv[2], workers=2))
"""


@pytest.mark.parametrize("room_bytes", [100, 3000])
def test_full_disk_is_a_sentence_and_leaves_nothing_half_written(raw, tmp_path, room_bytes):
    """Files cannot grow beyond a limit; the system reports it where it reports a full disk."""
    command = [sys.executable, "-c", FULL_DISK, raw, tmp_path / "out", room_bytes]
    output = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert output.count("larger than the limit") + output.count("File too large") == 4
    assert "Traceback" not in output
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(preprocess_folder(raw, tmp_path / "out").manifests) == 4


def test_frames_without_boxes_and_labels_beyond_the_recording_are_kept_and_told(tmp_path):
    boxes = make_boxes([100_000, 300_000, 900_000])
    for split in ("train", "val", "test"):
        write_recording(tmp_path / "raw" / split, "a", boxes=boxes)
    np.save(tmp_path / "raw/train/a_label_times.npy", np.array([100_000, 200_000, 300_000]))
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "out")
    labelled = tmp_path / "out/train/a/labels_v2"
    assert np.load(labelled / "timestamps_us.npy").tolist() == [100_000, 200_000, 300_000, 900_000]
    assert np.load(labelled / "labels.npz")["objframe_idx_2_label_idx"].tolist() == [0, 1, 1, 2]
    assert np.load(tmp_path / "out/val/a/labels_v2/timestamps_us.npy").tolist() == [
        100_000,
        300_000,
        900_000,
    ]
    assert "frames whose window holds no event: 3" in str(summary)


def write_etram_download(root: Path) -> None:
    """eTraM's folders: grouped labels (class 1) beside recordings, eight classes (5) in a tree."""
    for split in ("train", "val", "test"):
        for part, name in ((1, f"{split}_day_0001"), (2, f"{split}_night_0002")):
            folder = root / "HDF5" / f"{split}_h5_{part}"
            write_recording(folder, name, boxes=make_boxes([100_000, 200_000], class_id=1))
            eight = root / "class annotations" / f"eight_class_annotations_{split}"
            eight.mkdir(parents=True, exist_ok=True)
            np.save(eight / f"{name}_bbox.npy", make_boxes([100_000, 200_000], class_id=5))


def test_etrams_own_download_is_found_by_itself(tmp_path):
    write_etram_download(tmp_path / "raw")
    eight = preprocess_folder(tmp_path / "raw", tmp_path / "eight")
    assert [manifest["boxes_per_class_id"] for manifest in eight.manifests] == [
        {"5": 2}
    ] * 6 and not eight.problems
    grouped = preprocess_folder(tmp_path / "raw", tmp_path / "three", labels="beside")
    assert [manifest["boxes_per_class_id"] for manifest in grouped.manifests] == [{"1": 2}] * 6
    assert {manifest["class_names"]["5"] for manifest in eight.manifests} == {
        "truck"
    }  # whose ids these are is known
    assert not any("class_names" in manifest for manifest in grouped.manifests)
    assert (tmp_path / "eight/val/val_night_0002/labels_v2").is_dir()
    (tmp_path / "raw/class annotations/eight_class_annotations_val/val_day_0001_bbox.npy").unlink()
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "again")
    assert (
        len(summary.problems) == 1 and "no labels val_day_0001_bbox.npy in " in summary.problems[0]
    )
    shutil.rmtree(tmp_path / "raw/class annotations")
    with pytest.raises(
        InputError, match="eight_class_annotations_train: no such folder; download eTraM's class"
    ):
        preprocess_folder(tmp_path / "raw", tmp_path / "again", labels="eight_class")
