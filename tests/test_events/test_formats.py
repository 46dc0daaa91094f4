from __future__ import annotations

import h5py
import numpy as np
import pytest

from etram_mmdet.events import columns, indexed_recording, recording
from etram_mmdet.events.formats import FORMATS, hdf5, open_recording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.kinds import check_kind
from tests.helpers.raw import HEIGHT, WIDTH, make_events, write_events


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks in a recording of a few thousand events."""
    monkeypatch.setattr(hdf5, "_EVENTS_PER_BLOCK", 256)


SPIKE = 1234


def messy_events():
    """Stamps that run backwards by up to 2 ms, one that lies 60 ms ahead, polarity -1/1."""
    events = make_events(5000)
    rng = np.random.default_rng(1)
    events["t"][rng.integers(0, 5000, 45)] -= 2000
    events["t"][SPIKE] += 60_000
    events["p"] = events["p"] * 2 - 1
    return events


def expected_window(events, t0_us, t1_us):
    t, x, y, p = (np.delete(events[name], SPIKE) for name in "txyp")
    t = np.maximum.accumulate(np.maximum(t, 0))
    window = (t >= t0_us) & (t <= t1_us)
    return t[window], x[window], y[window], p[window].clip(0)


@pytest.mark.parametrize("windows", ["forwards", "backwards", "everything", "from the middle"])
def test_windows_equal_the_running_maximum_of_the_whole_file_without_the_spike(
    tmp_path, small_blocks, windows
):
    events = messy_events()
    path = write_events(tmp_path / "a_td.h5", events)
    stamps = np.delete(events["t"], SPIKE)
    t = np.maximum.accumulate(np.maximum(stamps, 0))
    edges = [(a, a + 30_000) for a in range(-50_000, 500_000, 25_000)] + [
        (int(t[700]), int(t[900]))
    ]
    chosen = {
        "backwards": edges[::-1],
        "everything": [(0, 10**7)],
        "from the middle": edges[9:],
    }.get(windows, edges)
    with open_recording(path) as recording:
        assert (recording.width, recording.height, recording.num_events) == (WIDTH, HEIGHT, 5000)
        for t0_us, t1_us in chosen:
            for column, expected in zip(
                recording.read(t0_us, t1_us), expected_window(events, t0_us, t1_us), strict=True
            ):
                np.testing.assert_array_equal(column, expected)
        assert (recording.t_first_us, recording.t_last_us) == (t[0], t[-1])
        assert recording.stamps_corrected == np.count_nonzero(stamps < t) > 30
        assert recording.dropped["events_with_bad_stamp"] == 1


def test_dtypes_and_both_window_ends_belong_to_the_window(tmp_path):
    path = write_events(
        tmp_path / "a_td.h5", dict(t=[10, 20, 30], x=[1, 2, 3], y=[1, 2, 3], p=[-1, 1, 0])
    )
    with open_recording(path) as recording:
        events = recording.read(10, 30)
        assert [column.dtype for column in events] == [np.int64, np.uint16, np.uint16, np.uint8]
        assert events.t.tolist() == [10, 20, 30] and events.p.tolist() == [0, 1, 0]
        assert recording.read(11, 29).t.tolist() == [20]
        assert [len(column) for column in recording.read(31, 99)] == [0, 0, 0, 0]
        assert recording.read(31, 99).p.dtype == np.uint8


def test_events_out_of_frame_are_dropped_and_counted_once(tmp_path, small_blocks):
    events = make_events(2000)
    events["x"] = events["x"].astype(np.int32)
    events["x"][5], events["y"][1000], events["x"][1999] = -1, 33014, WIDTH
    inside = np.setdiff1d(np.arange(2000), [5, 1000, 1999])
    with open_recording(write_events(tmp_path / "a_td.h5", events)) as recording:
        for _ in range(3):
            np.testing.assert_array_equal(recording.read(0, 10**6).x, events["x"][inside])
        assert recording.dropped_out_of_frame == 3
    with open_recording(tmp_path / "a_td.h5") as recording:
        recording.read(0, 1000)
        assert recording.dropped_out_of_frame == 1
        recording.read_rest()
        assert recording.dropped_out_of_frame == 3


def test_negative_stamps_are_raised_to_zero(tmp_path):
    path = write_events(
        tmp_path / "a_td.h5", dict(t=[-7, 3, -2], x=[1, 1, 1], y=[1, 1, 1], p=[1, 1, 1])
    )
    with open_recording(path) as recording:
        assert recording.read(0, 9).t.tolist() == [0, 3, 3]
        assert recording.stamps_corrected == 2


def test_compound_dataset_and_missing_size(tmp_path):
    table = np.array([(1, 2, 3, 1)], [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<i2")])
    with h5py.File(tmp_path / "a_td.h5", "w") as file:
        file["events"] = table
    with open_recording(tmp_path / "a_td.h5") as recording:
        assert (recording.width, recording.height, recording.size_is_assumed) == (304, 240, True)
        assert [column.tolist() for column in recording.read(0, 9)] == [[1], [2], [3], [1]]


def test_pedro_keeps_its_absolute_time(shared):
    with open_recording(shared / "data/pedro/train/frame0013230_td.h5") as recording:
        assert (recording.t_first_us, recording.t_last_us) == (1676562141437616, 1676562141477616)
        assert (
            len(recording.read(recording.t_first_us, recording.t_last_us).t)
            == recording.num_events
            == 38416
        )


def unreadable_filter(path):
    """One chunk under a filter number that no plugin has; the data behind it cannot be unpacked."""
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name in "txyp":
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((4,))
            plist.set_filter(32999, h5py.h5z.FLAG_OPTIONAL)
            space = h5py.h5s.create_simple((4,))
            dataset = h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_INT64, space, plist)
            dataset.write_direct_chunk((0,), b"\0" * 32)


def damaged_chunk(path):
    write_events(path, make_events(), compression="gzip")
    with h5py.File(path, "r") as file:
        chunk = file["events/t"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)


def truncated(path):
    write_events(path, make_events())
    path.write_bytes(path.read_bytes()[:-1000])


def without_y(path):
    write_events(path, {name: column for name, column in make_events().items() if name != "y"})


def unequal_columns(path):
    write_events(path, make_events() | dict(p=np.zeros(7, np.int16)))


BAD_FILES = {
    "absent": (lambda path: None, "no such recording"),
    "no bytes": (
        lambda path: path.write_bytes(b""),
        r"empty \(0 bytes\); copy or download it again",
    ),
    "text": (
        lambda path: path.write_text("hello world"),
        "not a Hdf5Recording file .* download it again",
    ),
    "no events": (lambda path: write_events(path, make_events(0)), "holds no events"),
    "truncated": (
        truncated,
        r"truncated at \d+ bytes \(cut, or still being written\); copy or download it again",
    ),
    "missing filter": (
        unreadable_filter,
        "events/x is compressed with HDF5 filter 32999, .* h5repack",
    ),
    "damaged": (damaged_chunk, "events/t cannot be read .* damaged"),
    "no y": (without_y, r"no events with t, x, y and p .*expected the layout of eTraM"),
    "unequal": (unequal_columns, r"differ in length .*'p': \(7,\)"),
    "stamps of words": (
        lambda path: write_events(path, make_events() | dict(t=np.full(4000, b"1"))),
        r"events/t is \|S1, expected numbers; convert the recording",
    ),
}


@pytest.mark.parametrize("problem", BAD_FILES)
def test_bad_file_is_named_with_its_problem(tmp_path, problem):
    write, sentence = BAD_FILES[problem]
    path = tmp_path / "bad_td.h5"
    write(path)
    with pytest.raises(InputError, match=f"bad_td.h5: .*{sentence}"):
        open_recording(path)


def test_unknown_suffix_lists_the_known_ones(tmp_path):
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(
        InputError, match=r"unknown recording format '.xyz'; expected one of .*\.h5"
    ):
        open_recording(tmp_path / "a.xyz")


@pytest.mark.parametrize("polarity", [2, -2])
def test_unknown_polarity_is_refused(tmp_path, polarity):
    path = write_events(
        tmp_path / "a_td.h5", make_events() | dict(p=np.full(4000, polarity, np.int16))
    )
    with (
        open_recording(path) as recording,
        pytest.raises(InputError, match=f"polarity {polarity}, expected 0 and 1"),
    ):
        recording.read(0, 100)


def test_a_recording_in_another_files_place_is_called_one():
    for suffix in {suffix for format_ in FORMATS for suffix in format_.suffixes}:
        with pytest.raises(InputError, match="is a recording, expected a config"):
            check_kind(f"rec{suffix.upper()}", "config")


@pytest.mark.parametrize(
    ("name", "module"), [("IndexedRecording", indexed_recording), ("find_column", columns)]
)
def test_a_name_that_moved_is_found_where_it_was_and_warns(name, module):
    with pytest.warns(FutureWarning, match=f"{name} is in {module.__name__} now"):
        assert getattr(recording, name) is getattr(module, name)
    with pytest.raises(AttributeError, match="has no attribute 'lost'"):
        _ = recording.lost
