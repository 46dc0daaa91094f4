"""Frames written around HDF5's filters are what HDF5 reads, and the other way round."""

from __future__ import annotations

import h5py
import hdf5plugin
import numpy as np
import pytest

from etram_mmdet.events.preprocessing.frame_store import (
    CHECKSUMS,
    FrameFile,
    compress,
    create_frames,
    write_frames,
)
from etram_mmdet.utils.errors import InputError
from tests.reference.answers import DATA

SHAPE = (4, 30, 50)


@pytest.fixture
def frames() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((7, *SHAPE)) < 0.1).astype(np.uint8) * rng.integers(
        1, 10, (7, *SHAPE), np.uint8
    )


@pytest.mark.parametrize(
    ("dtype", "codec", "blosc_number"), [(np.uint8, "zstd", 5), (np.int8, "lz4", 1)]
)
def test_hdf5_reads_what_was_written(tmp_path, frames, dtype, codec, blosc_number):
    frames = frames.view(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_frames(create_frames(file, 7, SHAPE, dtype, codec), iter(frames))
        assert file["data"].id.get_create_plist().get_filter(0)[2][6] == blosc_number
        assert file["data"].id.read_direct_chunk((0, 0, 0, 0))[1][2] >> 5 == min(
            blosc_number, 4
        )  # what packed it
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["data"][:], frames)
    with FrameFile(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file.read(2, 6), frames[2:6])
        assert (
            file.read(2, 2).shape == (0, *SHAPE)
            and file.dtype == dtype
            and file.shape == (7, *SHAPE)
        )


def test_no_frames_at_all(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_frames(create_frames(file, 0, SHAPE, np.uint8), iter(()))
        assert file["data"].shape == (0, *SHAPE)


def test_an_error_while_frames_are_made_is_not_swallowed(tmp_path, frames):
    def failing():
        yield from frames[:3]
        raise ValueError("no fourth frame")

    with (
        h5py.File(tmp_path / "a.h5", "w") as file,
        pytest.raises(ValueError, match="no fourth frame"),
    ):
        write_frames(create_frames(file, 7, SHAPE, np.uint8), failing())


@pytest.mark.parametrize(
    "options",
    [
        dict(compression="gzip"),
        dict(chunks=(1, *SHAPE)),
        dict(chunks=(2, *SHAPE), **hdf5plugin.Blosc(cname="lz4")),
        dict(
            chunks=(1, *SHAPE), **hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.BITSHUFFLE)
        ),
    ],
    ids=str,
)
def test_other_files_are_read_too(tmp_path, frames, options):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=frames, **options)
    with FrameFile(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file.read(1, 5), frames[1:5])


def test_the_files_of_the_reference():
    path = next((DATA / "preprocessed_etram").glob("train/*/event_representations_v2/*/*.h5"))
    with FrameFile(path) as file:
        frames = file.read(0, 3)
        assert file.checksums is None
    with h5py.File(path) as file:
        np.testing.assert_array_equal(frames, file["data"][:3])
    assert frames.any()


@pytest.mark.parametrize("damage", ["cut", "larger inside", "noise"])
def test_a_damaged_frame_is_an_error_and_nothing_is_written_past_it(tmp_path, frames, damage):
    chunk = bytearray(compress(frames[0]))
    if damage == "cut":
        chunk = chunk[: len(chunk) // 2]
    elif damage == "larger inside":
        chunk[4:8] = (10 * frames[0].nbytes).to_bytes(4, "little")
    else:
        chunk[16:] = bytes(len(chunk) - 16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = create_frames(file, 1, SHAPE, np.uint8)
        data.id.write_direct_chunk((0, 0, 0, 0), bytes(chunk))
    with (
        FrameFile(tmp_path / "a.h5") as file,
        pytest.raises(InputError, match=r"frame 0 is damaged.*preprocess"),
    ):
        file.read(0, 1)


def _flip_a_bit(data, chunks):
    chunks[3] = chunks[3][:40] + bytes([chunks[3][40] ^ 4]) + chunks[3][41:]


def _exchange_two(data, chunks):
    chunks[2], chunks[3] = chunks[3], chunks[2]


def _repeat_one(data, chunks):
    chunks[3] = chunks[2]


@pytest.mark.parametrize("damage", [_flip_a_bit, _exchange_two, _repeat_one])
def test_a_frame_that_is_not_what_was_written_is_noticed(tmp_path, frames, damage):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = create_frames(file, 7, SHAPE, np.uint8)
        write_frames(data, iter(frames))
        chunks = [data.id.read_direct_chunk((i, 0, 0, 0))[1] for i in range(7)]
        damage(data, chunks)
        for i, chunk in enumerate(chunks):
            data.id.write_direct_chunk((i, 0, 0, 0), chunk)
    with FrameFile(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file.read(0, 2), frames[:2])
        with pytest.raises(
            InputError, match=r"a\.h5: frame [23] is damaged \(its checksum differs"
        ):
            file.read(2, 4)


def test_a_filter_that_a_flipped_bit_turns_off_does_not_turn_off_the_check(tmp_path, frames):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = create_frames(file, 7, SHAPE, np.uint8)
        write_frames(data, iter(frames))
        data.id.write_direct_chunk((1, 0, 0, 0), frames[0].tobytes(), filter_mask=1)
    with (
        FrameFile(tmp_path / "a.h5") as file,
        pytest.raises(InputError, match=r"frame 1 is damaged \(its checksum differs"),
    ):
        file.read(0, 7)


def test_checksums_of_another_number_of_frames_are_refused(tmp_path, frames):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_frames(create_frames(file, 7, SHAPE, np.uint8), iter(frames))
        file["data"].resize(6, 0)
    with pytest.raises(InputError, match=rf"{CHECKSUMS} is uint32 \(7,\), expected uint32 \(6,\)"):
        FrameFile(tmp_path / "a.h5")
