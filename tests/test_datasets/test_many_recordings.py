"""More recordings than files that a process may open, and errors that are not the data's fault."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from etram_mmdet.datasets import folder_sequence
from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.events.choices import RVT_REPRESENTATION
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.open_files import OpenFiles
from tests.helpers.encoders import (
    write_dat,
    write_evt3,
    write_npy,
    write_npz_columns,
    write_npz_table,
)
from tests.helpers.raw import make_events, write_events, write_recording

LIMIT = 48
WRITERS = {
    "h5": write_events,
    "raw": write_evt3,
    "dat": write_dat,
    "npy": write_npy,
    "columns.npz": write_npz_columns,
    "table.npz": write_npz_table,
}


def open_folder(folder) -> FolderSequence:
    return FolderSequence(folder, RVT_REPRESENTATION, 50_000, get_class_set("etram8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("one")
    write_recording(root / "raw" / "train", "a")
    preprocess_folder(root / "raw", root / "out")
    return root / "out" / "train" / "a"


@pytest.fixture
def few_files():
    """`LIMIT` more files than other tests left open, which are not this test's matter."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = set(map(int, os.listdir("/proc/self/fd")))
    free = (number for number in range(soft) if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, LIMIT, None)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_sequence_folders_than_files_may_be_open(folder, tmp_path, few_files):
    sequences = [open_folder(shutil.copytree(folder, tmp_path / str(i))) for i in range(LIMIT)]
    expected = sequences[0].read(0, 5)
    assert expected.any()
    for sequence in sequences * 2:
        np.testing.assert_array_equal(sequence.read(0, 5), expected)


def test_more_recordings_than_files_may_be_open(tmp_path, few_files):
    """Recordings of every format are read in turn; each continues where it was, and goes back."""
    events = make_events()
    recordings = [
        open_recording(write(tmp_path / f"{i}.{suffix}", events))
        for suffix, write in WRITERS.items()
        for i in range(12)
    ]
    assert len(recordings) > LIMIT
    for start_us in (0, 200_000, 100_000):
        inside = (events["t"] >= start_us) & (events["t"] <= start_us + 50_000)
        for recording in recordings:
            recording.release()
            assert (
                recording.read(start_us, start_us + 50_000).x.tolist()
                == events["x"][inside].tolist()
            )


def test_an_error_of_the_machine_does_not_advise_to_delete_the_data(folder, monkeypatch, few_files):
    monkeypatch.setattr(folder_sequence, "OPEN_FILES", OpenFiles())  # with none to close
    sequence = open_folder(folder)
    files = []
    try:
        while True:
            files.append(open("/dev/null"))
    except OSError as error:
        assert error.errno == errno.EMFILE
    try:
        with pytest.raises(InputError) as told:
            sequence.read(0, 1)
    finally:
        for file in files:
            file.close()
    assert "too many files open" in str(told.value) and "ulimit -n" in str(told.value)
    assert "delete" not in str(told.value) and "preprocess" not in str(told.value)


def test_a_locked_file_is_called_locked(folder):
    path = next(folder.rglob("*.h5"))
    holder = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with pytest.raises(InputError, match="another process is still writing it; wait"):
            open_folder(folder)
        process.communicate(b"\n")
    assert open_folder(folder).num_frames


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EIO, "the disk or the network drive does not answer"),
        (errno.ESTALE, "it or its folder does not exist"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_an_error_of_the_disk_while_frames_are_read_is_told_as_such(
    folder, monkeypatch, number, says
):
    """HDF5 gives the number of the error in its text only."""

    def fail(*args):
        raise OSError(
            f"Can't synchronously read data (file read failed: errno = {number}, error message = "
            "'...')"
        )

    sequence = open_folder(folder)
    monkeypatch.setattr(folder_sequence.FrameFile, "_read", fail)
    with pytest.raises(InputError, match=rf"\.h5: cannot be read: {says}") as told:
        sequence.read(0, 1)
    assert "delete" not in str(told.value)


@pytest.mark.skipif(os.getuid() != 0, reason="tries another user, which only root can become")
def test_a_folder_of_another_user_is_a_sentence(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "a")
    recording = write_evt3(tmp_path / "a.raw", make_events())
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        for opening in (lambda: open_folder(copy), lambda: open_recording(recording)):
            with pytest.raises(
                InputError, match="cannot be read: permission denied; check its owner"
            ):
                opening()
    finally:
        os.seteuid(0)
