"""What a file claims is believed only as far as the file and the limits reach."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from etram_mmdet.apis.inference import load_operating_points
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.formats.array_files import load_array
from etram_mmdet.events.formats.npy import open_archive
from etram_mmdet.events.labels import load_boxes, load_label_times
from etram_mmdet.events.limits import MAX_EXPANSION, MAX_TIME_US
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import WRITERS, structured
from tests.helpers.raw import make_boxes, make_events, write_recording

PACKED = (
    "[('t', '<i8'), ('x', '<f4'), ('y', '<f4'), ('w', '<f4'), ('h', '<f4'), ('class_id', '<u4')]"
)


def npy(header: str, data: bytes = bytes(64)) -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (npy("{'descr': " + PACKED[:-1]), "not a readable"),
        (npy("{'descr': '<i8', 'fortran_order': False, 'shape': " + "(" * 5000), "not a readable"),
        (npy("-" * 9000), "nested too deeply"),
        (
            npy(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({2**42},)}}"),
            "4,398,046,511,104 rows of 8 bytes",
        ),
        (
            npy(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({2**70},)}}"),
            "but holds fewer",
        ),
        (npy("{'descr': '<i8', 'fortran_order': False, 'shape': (-4,)}"), "a shape of"),
        (
            npy("{'descr': 'V2000000000', 'fortran_order': False, 'shape': (0,)}"),
            "rows of 2000000000 bytes",
        ),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "Python objects"),
    ],
)
@pytest.mark.parametrize("read", [load_boxes, load_array, open_recording])
def test_headers_of_numpy_are_not_believed(content, says, read, tmp_path):
    path = tmp_path / "a_bbox.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read(path)


def test_more_rows_than_labels_have(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({9 << 20},)}}", b""))
        file.truncate(10 << 20)
    with pytest.raises(InputError, match="9,437,184 rows, expected at most 8,388,608"):
        load_array(tmp_path / "a.npy")


@pytest.mark.parametrize("kind", ["<U8", "S3", "M8[us]", "m8[us]", "c16", "V4", "(2,)i4", "?"])
@pytest.mark.parametrize("column", ["t", "x", "class_id", "track_id"])
def test_columns_that_are_no_numbers(kind, column, tmp_path):
    boxes = make_boxes([100_000, 200_000])
    dtype = [(name, kind if name == column else boxes.dtype[name]) for name in boxes.dtype.names]
    np.save(tmp_path / "a_bbox.npy", np.zeros(2, dtype))
    with pytest.raises(InputError, match=rf"a_bbox\.npy: {column} is .*, expected numbers"):
        load_boxes(tmp_path / "a_bbox.npy")


@pytest.mark.parametrize(
    ("kind", "value"),
    [("f8", np.nan), ("f2", np.inf), ("f8", 1e300), ("<u8", 2**64 - 1), ("<i8", -(2**63))],
)
def test_times_that_are_none(kind, value, tmp_path):
    boxes = make_boxes([1000, 2000])
    dtype = [(name, kind if name == "t" else boxes.dtype[name]) for name in boxes.dtype.names]
    changed = boxes.astype(dtype)
    changed["t"][1] = value
    np.save(tmp_path / "a_bbox.npy", changed)
    with pytest.raises(
        InputError, match=rf"1 of 2 times are impossible, the first in row 1 .*{MAX_TIME_US}"
    ):
        load_boxes(tmp_path / "a_bbox.npy")
    if kind[0] != "f":
        np.save(tmp_path / "a_label_times.npy", changed["t"])
        with pytest.raises(InputError, match="1 of 2 times are impossible"):
            load_label_times(tmp_path / "a_bbox.npy")


def bomb(path, name: str, head: bytes, claimed: int) -> None:
    """An archive with a GiB of zeros behind ``head`` that states a size of ``claimed`` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = struct.pack("<BHH", 0, len(head), len(head) ^ 0xFFFF) + head + zeros * 1024
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, packed)
        info = archive.infolist()[0]
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, claimed
        info.CRC = zlib.crc32((head + bytes(1000))[:1000])


@pytest.mark.parametrize(
    ("claimed", "says"),
    [
        (1 << 30, "states 1,073,741,824 bytes of content in"),
        (1000, "134,217,728 rows of 8 bytes, but holds fewer"),
    ],
)
@pytest.mark.parametrize("read", [open_recording, lambda path: load_array(path, "t")])
def test_archives_that_unpack_to_a_gib(claimed, says, read, tmp_path):
    head = npy(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({1 << 27},)}}", b"")
    bomb(tmp_path / "a.npz", "t.npy", head, claimed)
    with pytest.raises(InputError, match=says):
        read(tmp_path / "a.npz")


def test_a_column_that_says_the_same_in_every_row(tmp_path):
    """70 MB of "on" pack to less than a MB; the other columns allow as many events."""
    path = tmp_path / "a.npz"
    ons = npy(
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({70 << 20},)}}", b"\x01" * (70 << 20)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("p.npy", ons)
        archive.writestr("t.npy", np.random.default_rng(0).bytes(1 << 20))
    member = zipfile.ZipFile(path).getinfo("p.npy")
    assert member.file_size > MAX_EXPANSION * member.compress_size
    open_archive(path).close()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_compressed_as_numpy_never_does(method, tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(9))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("t.npy", buffer.getvalue())
    with pytest.raises(InputError, match="compressed in a way that NumPy does not use"):
        load_array(tmp_path / "a.npz", "t")


@pytest.mark.parametrize("name", ["EVT 2.0", "EVT 3.0", "DAT"])
@pytest.mark.parametrize(
    ("width", "height", "says"),
    [
        (60000, 60000, "sides of 1 to 8192"),
        (8192, 8192, "at most 8,388,608 in all"),
        ("9" * 5000, 1, ""),
    ],
)
def test_sensors_that_fill_the_memory(name, width, height, says, tmp_path):
    suffix, write = WRITERS[name]
    path = write(tmp_path / f"a{suffix}", make_events(100))
    content = path.read_bytes()
    for key, old, new in (
        (b"geometry ", b"64x48", f"{width}x{height}".encode()),
        (b"Width ", b"64", str(width).encode()),
    ):
        content = content.replace(key + old, key + new)
    content = content.replace(b"Height 48", f"Height {height}".encode())
    path.write_bytes(content)
    if not says:  # no number at all: the size is guessed
        with open_recording(path) as recording:
            assert recording.size_is_assumed
        return
    with pytest.raises(InputError, match=f"a sensor of {width}x{height} pixels, expected .*{says}"):
        open_recording(path)


def test_a_stated_sensor_has_the_same_limits(tmp_path):
    np.save(tmp_path / "a.npy", structured(make_events(100)))
    with pytest.raises(InputError, match="a sensor of 60000x60000 pixels"):
        open_recording(tmp_path / "a.npy", sensor_px=(60000, 60000))


def test_rows_that_hdf5_claims_and_does_not_hold(tmp_path):
    table = structured(make_events(1500))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("events", (53_878_140_834,), table.dtype, chunks=(1500,))
        data[:1500] = table
    with pytest.raises(InputError, match="states 53878140834 events, but holds few of them"):
        open_recording(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["events"] = table
        file["t_offset"] = np.uint64(2**64 - 1)
    with pytest.raises(InputError, match="t_offset is 18446744073709551615, expected at most"):
        open_recording(tmp_path / "b.h5")


@pytest.fixture
def preprocessed(tmp_path):
    write_recording(tmp_path / "raw" / "train", "a")
    write_recording(tmp_path / "raw" / "train", "b")
    preprocess_folder(tmp_path / "raw", tmp_path / "out", keep_implausible=True)
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "holds a list, expected a JSON object"),
        ("7", "holds a int, expected a JSON object"),
        ("[" * 20_000, r"not valid JSON \(nested too deeply\)"),
        ('{"format_version": ' + "[" * 500 + "]" * 500 + "}", "format version"),
        ('{"format_version": 2}', "lacks recording"),
        ('{"format_version": 2, "recording": "\\ud800"}', "not valid JSON"),
        ({"width": "wide"}, "width is 'wide', expected count"),
        ({"dropped": [1]}, r"dropped is \[1\], expected counts"),
        ({"num_events": -1}, "num_events is .*, expected"),
        ({"t_first_us": 2**70}, "t_first_us is .*, expected"),
        ({"representation": "StackedHistogram"}, "representation is .*, expected"),
        ({"frames_per_s": "ten"}, "frames_per_s is .*, expected"),
    ],
)
def test_a_damaged_sequence_json_stops_nothing_else(text, says, preprocessed):
    """It used to end the whole preprocessing, after all work was done."""
    path = preprocessed / "train" / "a" / "sequence.json"
    content = json.loads(path.read_text())
    path.write_text(text if isinstance(text, str) else json.dumps(content | text))
    summary = preprocess_folder(preprocessed.parent / "raw", preprocessed, keep_implausible=True)
    (problem,) = [each for each in summary.problems if "sequence.json" in each]
    assert re.search(says, problem) and "preprocess the recording again" in problem
    assert [manifest["recording"] for manifest in summary.manifests] == [
        "b"
    ] and "1 were finished" in str(summary)
    with pytest.raises(InputError, match=says):
        ETraMDataset(str(preprocessed), "train")


def test_nested_predictions_and_operating_points(tmp_path):
    (tmp_path / "p.json").write_text('{"classes": ["a"], "frames": ' + "[" * 20_000)
    with pytest.raises(InputError, match=r"p\.json: not valid JSON \(nested too deeply\)"):
        load_predictions(tmp_path / "p.json")
    deep = "[" * 900 + "]" * 900
    (tmp_path / "p.json").write_text(
        '{"classes": ["a"], "frames": [{"recording": "a", "gt_bboxes": [], "gt_labels": [], '
        '"t_us": ' + deep + "}]}"
    )
    with pytest.raises(InputError, match=r"p\.json: not a file of predictions"):
        load_predictions(tmp_path / "p.json")
    (tmp_path / "o.py").write_text("operating_points = " + "-" * 20_000 + "1")
    with pytest.raises(InputError, match="nested too deeply"):
        load_operating_points(tmp_path / "o.py")


def test_names_that_are_not_utf_8(preprocessed):
    raw = os.fsencode(preprocessed.parent / "raw" / "train")
    for name in (b"_td.h5", b"_bbox.npy"):
        os.rename(raw + b"/a" + name, raw + b"/caf\xe9" + name)
    summary = preprocess_folder(preprocessed.parent / "raw", preprocessed, keep_implausible=True)
    (problem,) = [each for each in summary.problems if "caf" in each]
    assert (
        problem.endswith(r"caf\udce9_td.h5: its name is not UTF-8; rename the file")
        and problem.encode()
    )
    os.rename(
        os.fsencode(preprocessed / "train") + b"/a",
        os.fsencode(preprocessed / "train") + b"/caf\xe9",
    )
    with pytest.raises(InputError, match=r"the name caf\\udce9 of a sequence is not UTF-8"):
        ETraMDataset(str(preprocessed), "train")
