"""A single flipped bit in a sequence folder is noticed or changes nothing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.events.choices import RVT_REPRESENTATION
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.preprocessing.sequence_folder import read_manifest, write_manifest
from etram_mmdet.utils.errors import InputError
from tests.helpers.sequence_folders import forget_checksums, frames_in
from tests.reliability.flip_bits import contents, flip_bits, make_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "train" / "a")


def open_folder(folder) -> FolderSequence:
    return FolderSequence(folder, RVT_REPRESENTATION, 50_000, get_class_set("etram8"))


def test_flipped_bits_never_change_data_in_silence(folder):
    """``python -m tests.reliability.flip_bits`` flips more."""
    found = flip_bits(folder, count=60)
    assert {outcome for _, outcome in found} <= {"noticed", "without effect"}
    assert (
        sum(found.values()) == 60
        and sum(n for (_, outcome), n in found.items() if outcome == "noticed") > 30
    )


def flip(path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["labels_v2/timestamps_us.npy", "ignored_boxes.npy", "timestamps_us.npy"]
)
def test_a_bit_of_an_array_is_noticed_where_the_folder_has_checksums(folder, name):
    """The last bits of a time and of a box: nothing else contradicts them."""
    path = folder / name if (folder / name).exists() else frames_in(folder).with_name(name)
    flip(path, -8 if name != "ignored_boxes.npy" else -28)
    with pytest.raises(
        InputError,
        match=rf"{path}: changed since it was written .CRC-32 \d+, expected \d+.*preprocess",
    ):
        open_folder(folder)
    with pytest.raises(InputError, match="changed since it was written"):
        take_census(folder.parents[1])
    forget_checksums(folder)
    open_folder(folder)


def test_a_file_that_is_gone_is_noticed(folder):
    """Without it boxes that evaluation ignores would count as missed."""
    (folder / "ignored_boxes.npy").unlink()
    with pytest.raises(
        InputError, match=r"ignored_boxes\.npy: missing, but preprocessing wrote it; delete"
    ):
        open_folder(folder)


def test_a_number_of_the_manifest_is_noticed(folder):
    path = folder / "sequence.json"
    text = path.read_text()
    manifest = json.loads(text)
    path.write_text(
        text.replace(
            f'"num_events": {manifest["num_events"]}', f'"num_events": {manifest["num_events"] + 1}'
        )
    )
    with pytest.raises(
        InputError, match=r"sequence\.json: changed since it was written.*remove 'crc32' from"
    ):
        open_folder(folder)
    path.write_text(json.dumps({**manifest, "crc32": [1]}))
    with pytest.raises(InputError, match=r"sequence\.json: crc32 is .*, expected counts"):
        open_folder(folder)
    path.write_text(json.dumps(manifest))  # in another form
    open_folder(folder)


def test_a_manifest_that_is_written_again_has_its_own_checksum_and_those_of_the_files(folder):
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, "recording": "another"})
    open_folder(folder)
    renewed = read_manifest(folder)
    changed = {name for name, crc in renewed["crc32"].items() if crc != manifest["crc32"][name]}
    assert changed == {"the rest of this file"} and renewed["recording"] == "another"
    flip(folder / "ignored_boxes.npy", -28)
    write_manifest(folder, renewed)
    with pytest.raises(InputError, match=r"ignored_boxes\.npy: changed since it was written"):
        open_folder(folder)


def test_folders_without_checksums_hold_what_those_with_them_do(folder):
    expected = contents(folder)
    forget_checksums(folder)
    for found, right in zip(contents(folder), expected, strict=True):
        np.testing.assert_array_equal(found, right)
