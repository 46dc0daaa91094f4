"""Recordings in every readable format, compared with the written events and with real ones."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import h5py
import numpy as np
import pytest

from etram_mmdet.events.formats import dat, hdf5, numpy_files, open_recording, raw, text_files
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import (
    WRITERS,
    evt3_words,
    write_dat,
    write_dsec,
    write_evt2,
    write_evt3,
    write_metavision,
    write_raw,
)
from tests.helpers.raw import HEIGHT, WIDTH, make_events, write_events

WITHOUT_SIZE = ("npy", "npz table", "npz columns", "npy array", "v2e h5", "MVSEC h5")
EVERYTHING = (-(1 << 63), (1 << 63) - 1)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks in a recording of a few thousand events."""
    monkeypatch.setattr(raw, "_WORDS_PER_BLOCK", 301)
    monkeypatch.setattr(text_files, "_LINES_PER_BLOCK", 256)
    monkeypatch.setattr(text_files, "_READ_BYTES", 5000)
    for module in (hdf5, dat, numpy_files):
        monkeypatch.setattr(module, "_EVENTS_PER_BLOCK", 256)


def written(tmp_path, name, events):
    suffix, write = WRITERS[name]
    return write(tmp_path / f"a_td{suffix}", events)


@pytest.mark.parametrize("name", ["driving_evt3.raw", "sparklers_evt2.raw", "ncars_car_td.dat"])
@pytest.mark.parametrize("blocks", ["large", "small"])
def test_real_recordings_are_decoded_exactly(shared, monkeypatch, name, blocks):
    if blocks == "small":
        monkeypatch.setattr(raw, "_WORDS_PER_BLOCK", 7777)
        monkeypatch.setattr(dat, "_EVENTS_PER_BLOCK", 777)
    expected = json.loads((shared / "data" / "expected.json").read_text())[name]
    with open_recording(shared / "data" / name) as recording:
        events = recording.read(*EVERYTHING)
        assert recording.num_events == len(events.t) == expected["events"]
        assert (recording.t_first_us, recording.t_last_us) == (
            expected["t_first"],
            expected["t_last"],
        )
        for column, values in events._asdict().items():
            assert hashlib.sha256(values.tobytes()).hexdigest() == expected["sha256"][column], (
                column
            )
        assert recording.stamps_corrected == recording.dropped_out_of_frame == 0


@pytest.mark.parametrize("format_", WRITERS)
@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_windows_equal_what_was_written(tmp_path, small_blocks, format_, order):
    events = make_events(5000, start_us=3_000_000)
    edges = range(2_990_000, 3_500_000, 35_000)
    with open_recording(written(tmp_path, format_, events)) as recording:
        for start_us in edges if order == "forwards" else edges[::-1]:
            window = (events["t"] >= start_us) & (events["t"] <= start_us + 50_000)
            for name, column in recording.read(start_us, start_us + 50_000)._asdict().items():
                np.testing.assert_array_equal(column, events[name][window])
        assert (recording.t_first_us, recording.t_last_us) == (events["t"][0], events["t"][-1])
        assert recording.num_events == 5000 and recording.dropped == {"events_out_of_frame": 0}
        assert recording.size_is_assumed == (format_ in WITHOUT_SIZE)
        expected = (304, 240) if format_ in WITHOUT_SIZE else (WIDTH, HEIGHT)
        assert (recording.width, recording.height) == expected
        recording.release()
        np.testing.assert_array_equal(recording.read(*EVERYTHING).t, events["t"])


@pytest.mark.parametrize("format_", [name for name in WRITERS if "h5" not in name])
def test_reading_needs_memory_for_blocks_and_not_for_the_file(tmp_path, monkeypatch, format_):
    """Two blocks of 16,384 events and the window are in memory, up to 21 bytes each, of 6 MB."""
    monkeypatch.setattr(raw, "_WORDS_PER_BLOCK", 1 << 14)
    monkeypatch.setattr(
        text_files, "_LINES_PER_BLOCK", 1 << 12
    )  # of 60 bytes: text, and four numbers of 8 bytes
    monkeypatch.setattr(text_files, "_READ_BYTES", 1 << 18)
    for module in (dat, numpy_files):
        monkeypatch.setattr(module, "_EVENTS_PER_BLOCK", 1 << 14)
    path = written(tmp_path, format_, make_events(500_000, span_us=10_000_000))
    with open_recording(path) as recording:
        recording.read(0, 50_000)  # compiles the decoders
    tracemalloc.start()
    try:
        with open_recording(path) as recording:
            count = sum(len(recording.read(t, t + 49_999).t) for t in range(0, 10_000_000, 50_000))
            recording.read_rest()
            assert count == recording.num_events == 500_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_evt3_vectors_set_one_event_per_bit_and_advance(tmp_path):
    words = [
        0x8001,
        0x6002,
        0x0007,
        0x3800 | 20,
        0x4000 | 0b1000_0000_0101,
        0x5000 | 0b1000_0001,
        0x3003,
        0x4001,
    ]
    with open_recording(write_raw(tmp_path / "a.raw", np.array(words, "<u2"), "3.0")) as recording:
        events = recording.read(*EVERYTHING)
    assert events.x.tolist() == [20, 22, 31, 32, 39, 3]
    assert events.p.tolist() == [1, 1, 1, 1, 1, 0]
    assert set(events.y.tolist()) == {7} and set(events.t.tolist()) == {4096 + 2}


@pytest.mark.parametrize(
    ("write", "suffix", "start_us"),
    [
        (write_evt3, ".raw", (1 << 24) - 5000),
        (write_evt2, ".raw", (1 << 34) - 5000),
        (write_dat, ".dat", 0xFFFFFFFF - 5000),
    ],
)
def test_time_goes_on_where_the_format_starts_again_from_zero(
    tmp_path, small_blocks, write, suffix, start_us
):
    events = make_events(3000, span_us=20_000, start_us=start_us)
    with open_recording(write(tmp_path / f"a{suffix}", events)) as recording:
        np.testing.assert_array_equal(recording.read(*EVERYTHING).t, events["t"])
        assert recording.stamps_corrected == 0
        assert len(recording.read(start_us + 10_000, start_us + 30_000).t) == np.sum(
            events["t"] >= start_us + 10_000
        )


def test_evt3_time_wraps_every_16_seconds(tmp_path):
    events = make_events(20_000, span_us=60_000_000)
    with open_recording(write_evt3(tmp_path / "a.raw", events)) as recording:
        np.testing.assert_array_equal(recording.read(*EVERYTHING).t, events["t"])


def test_a_lost_time_high_is_counted_on(tmp_path):
    event = 0x2001
    words = [0x8001, 0x6000 | 4000, event, 0x6000 | 10, event, 0x8002, event, 0x6000 | 20, event]
    with open_recording(write_raw(tmp_path / "a.raw", np.array(words, "<u2"), "3.0")) as recording:
        assert recording.read(*EVERYTHING).t.tolist() == [8096, 8202, 8202, 8212]


def test_events_before_the_first_time_and_half_words_are_counted(tmp_path):
    path = write_raw(tmp_path / "a.raw", np.array([0x2001, 0x4003, 0x8001, 0x2001], "<u2"), "3.0")
    path.write_bytes(path.read_bytes() + b"\x01")
    with open_recording(path) as recording:
        recording.read_rest()
        lost = {"events_before_first_time": 3, "bytes_after_last_word": 1}
        assert recording.dropped == {"events_out_of_frame": 0, **lost}
        assert recording.num_events == 1
    path = write_dat(tmp_path / "a.dat", make_events(10))
    path.write_bytes(path.read_bytes() + b"123")
    with open_recording(path) as recording:
        assert recording.num_events == 10 and recording.dropped["bytes_after_last_event"] == 3


@pytest.mark.parametrize(
    ("header", "size", "is_assumed"),
    [
        ("% evt 3.0\n% format EVT3;height=320;width=400\n", (400, 320), False),
        ("% evt 3.0\n% Width 400\n% Height 320\n", (400, 320), False),
        ("% format EVT2;width=400;height=320\n", (400, 320), False),
        ("% evt 2.0\n% geometry 400x320\n% end\n", (400, 320), False),
        ("% evt 2.0\n% plugin_name hal_plugin_gen41_evk3\n", (1280, 720), False),
        ("% evt 2.0\n", (640, 480), True),
        ("% evt 3.0\n", (1280, 720), True),
    ],
)
def test_sensor_size_from_the_header(tmp_path, header, size, is_assumed):
    is_evt3 = "evt 3" in header or "EVT3" in header
    words = np.array([0x8001, 0x2001], "<u2") if is_evt3 else np.array([8 << 28 | 1, 5], "<u4")
    (tmp_path / "a.raw").write_bytes(header.encode() + words.tobytes())
    with open_recording(tmp_path / "a.raw") as recording:
        assert (
            recording.width,
            recording.height,
        ) == size and recording.size_is_assumed == is_assumed
        assert recording.num_events == 1


def test_big_endian_columns(tmp_path):
    events = {
        name: column.astype(column.dtype.newbyteorder(">"))
        for name, column in make_events(300).items()
    }
    for path in (
        write_events(tmp_path / "a.h5", events),
        WRITERS["npz columns"][1](tmp_path / "a.npz", events),
    ):
        with open_recording(path) as recording:
            for name, column in recording.read(*EVERYTHING)._asdict().items():
                np.testing.assert_array_equal(column, events[name])


@pytest.mark.parametrize("event_type", [0, 12, 37])
def test_dat_of_any_event_type_and_without_a_size(tmp_path, event_type):
    events = make_events(300) | dict(x=np.full(300, 500, np.uint16))
    path = write_dat(tmp_path / "a.dat", events, event_type)
    path.write_bytes(path.read_bytes().replace(b"% Height 48\n% Width 64\n", b""))
    with open_recording(path) as recording:
        assert (recording.width, recording.height, recording.size_is_assumed) == (640, 480, True)
        np.testing.assert_array_equal(recording.read(*EVERYTHING).y, events["y"])


def test_a_size_that_the_file_lacks_may_be_stated(tmp_path):
    path = WRITERS["npy"][1](tmp_path / "a.npy", make_events(300))
    with open_recording(path, (50, 40)) as recording:
        assert (recording.width, recording.height, recording.size_is_assumed) == (50, 40, False)
        events = recording.read(*EVERYTHING)
        assert (
            events.x.max() < 50
            and events.y.max() < 40
            and recording.dropped_out_of_frame == 300 - len(events.t) > 0
        )
    path = write_evt2(tmp_path / "a.raw", make_events(300))
    with open_recording(path, (WIDTH, HEIGHT)) as recording:
        assert recording.width == WIDTH
    with pytest.raises(
        InputError, match=f"a.raw: the file states a sensor of {WIDTH}x{HEIGHT}, but 50x40 is"
    ):
        open_recording(path, (50, 40))


def test_dsec_offset_is_added(tmp_path):
    events = make_events(100)
    with open_recording(write_dsec(tmp_path / "a.h5", events, 50_000_000)) as recording:
        np.testing.assert_array_equal(recording.read(*EVERYTHING).t, events["t"] + 50_000_000)


def metavision_ecf(path):
    """Events under the number of Metavision's codec."""
    dtype = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<i2")])
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((4,))
        group = file.create_group("CD")
        dataset = h5py.h5d.create(
            group.id, b"events", h5py.h5t.py_create(dtype, logical=True), space, plist
        )
        dataset.write_direct_chunk((0,), b"\0" * 64)


def cut_npz(path):
    WRITERS["npz table"][1](path, make_events())
    path.write_bytes(path.read_bytes()[:-30])


def cut_npy(path):
    WRITERS["npy"][1](path, make_events())
    path.write_bytes(path.read_bytes()[:-100])


def objects_npy(path):
    np.save(path, np.array([{"t": 1}], object), allow_pickle=True)


BAD_FILES = {
    "raw without version": (
        "a.raw",
        lambda p: p.write_bytes(b"% Date today\n\0\0\0\0"),
        "no line '% evt ...'",
    ),
    "raw of another version": (
        "a.raw",
        lambda p: write_raw(p, np.zeros(4, "<u2"), "4.0"),
        "EVT 4.0; expected",
    ),
    "raw of text only": (
        "a.raw",
        lambda p: p.write_bytes(b"% evt 3.0\n% end\n"),
        "the recording holds no events",
    ),
    "raw without times": (
        "a.raw",
        lambda p: write_raw(p, np.full(9, 0x2001, "<u2"), "3.0"),
        "holds no events",
    ),
    "raw with an endless header": (
        "a.raw",
        lambda p: p.write_bytes(b"% evt 3.0"),
        "text header does not end",
    ),
    "raw without a header": (
        "a.raw",
        lambda p: p.write_bytes(b"\x01\x80" * 9),
        "not a RawRecording file",
    ),
    "dat of version 1": (
        "a.dat",
        lambda p: p.write_bytes(b"% Version 1\n\x0c\x08" + bytes(80)),
        "version 1, expected 2",
    ),
    "dat with other events": (
        "a.dat",
        lambda p: p.write_bytes(b"% Version 2\n\x0c\x10" + bytes(80)),
        "of 16 bytes",
    ),
    "dat of text only": (
        "a.dat",
        lambda p: p.write_bytes(b"% Version 2\n\x0c\x08"),
        "the recording holds no events",
    ),
    "npy of objects": ("a.npy", objects_npy, "Python objects instead of numbers"),
    "npy without fields": (
        "a.npy",
        lambda p: np.save(p, np.zeros(4)),
        "expected the fields t, x, y, p",
    ),
    "npy of two dimensions": (
        "a.npy",
        lambda p: np.save(p, np.zeros((4, 4))),
        "several orders fit its first events; name .*--event-columns",
    ),
    "npy of three columns": (
        "a.npy",
        lambda p: np.save(p, np.zeros((4, 3))),
        r"float64 \(4, 3\), expected numbers \(N, 4\)",
    ),
    "npy cut": ("a.npy", cut_npy, "ends before its 4000 rows.*damaged; copy or save it again"),
    "npz cut": (
        "a.npz",
        cut_npz,
        "still being written or was cut; wait, or copy or save it again",
    ),
    "npz with stamps of words": (
        "a.npz",
        lambda p: np.savez(p, **(make_events() | dict(t=np.full(4000, b"1")))),
        r"t is \|S1, expected numbers",
    ),
    "npz of unequal columns": (
        "a.npz",
        lambda p: np.savez(p, **(make_events() | dict(p=np.zeros(7, np.uint8)))),
        "differ in length .*'p': 7",
    ),
    "Metavision's codec": (
        "a.h5",
        metavision_ecf,
        "Metavision's ECF codec, which is not installed; install hdf5_ecf",
    ),
    "DSEC offset": (
        "a.h5",
        lambda p: write_dsec(p, make_events(), 0).open("rb").close() or _with_bad_offset(p),
        r"t_offset is float64 \(2,\), expected one integer",
    ),
}


def _with_bad_offset(path):
    with h5py.File(path, "r+") as file:
        del file["t_offset"]
        file["t_offset"] = np.zeros(2)


@pytest.mark.parametrize("problem", BAD_FILES)
def test_bad_file_is_named_with_its_problem(tmp_path, problem):
    name, write, sentence = BAD_FILES[problem]
    write(tmp_path / name)
    with (
        pytest.raises(InputError, match=f"{name}: .*({sentence})"),
        open_recording(tmp_path / name) as recording,
    ):
        recording.read_rest()


@pytest.mark.parametrize("format_", WRITERS)
def test_empty_and_cut_files_of_every_format(tmp_path, format_):
    """RAW, DAT and text have no end mark: a cut file is read, or the cut line is named."""
    path = written(tmp_path, format_, make_events(4000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if path.suffix in (".raw", ".dat", ".csv"):
        with open_recording(path) as recording:
            assert 1900 < recording.num_events < 2100
    else:
        with (
            pytest.raises(InputError, match=f"{path.name}: .*(again|damaged)"),
            open_recording(path) as recording,
        ):
            recording.read_rest()
    path.write_bytes(b"")
    with pytest.raises(
        InputError, match=rf"{path.name}: the file is empty \(0 bytes\); copy or download it again"
    ):
        open_recording(path)


def test_a_file_that_shrinks_while_it_is_read_is_a_sentence(tmp_path, small_blocks):
    for path in (
        write_evt2(tmp_path / "a.raw", make_events()),
        write_dat(tmp_path / "a.dat", make_events()),
    ):
        with open_recording(path) as recording:
            path.write_bytes(path.read_bytes()[:3000])
            with pytest.raises(InputError, match="became shorter while it was read"):
                recording.read_rest()


def mutations(data: bytes, rng: np.random.Generator, count: int):
    """Cut, overwritten, repeated and shortened copies of a file."""
    for _ in range(count):
        damaged = bytearray(data)
        kind, at = rng.integers(4), int(rng.integers(len(data)))
        if kind == 0:
            del damaged[at:]
        elif kind == 1:
            for _ in range(int(rng.integers(1, 30))):
                damaged[int(rng.integers(len(data)))] = int(rng.integers(256))
        elif kind == 2:
            damaged[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8))
        else:
            del damaged[at : at + int(rng.integers(1, 200))]
        yield bytes(damaged)


@pytest.mark.parametrize("format_", WRITERS)
def test_damaged_files_are_read_or_refused_with_our_own_error(tmp_path, small_blocks, format_):
    """Events lie on the sensor in time order, or a sentence names the damaged file."""
    path = written(tmp_path, format_, make_events(600))
    for damaged in mutations(path.read_bytes(), np.random.default_rng(3), 150):
        path.write_bytes(damaged)
        try:
            with open_recording(path) as recording:
                events = recording.read(*EVERYTHING)
                recording.read_rest()
                assert (np.diff(events.t) >= 0).all() and events.p.max(initial=0) <= 1
                bad_stamps = recording.dropped.get("events_with_bad_stamp", 0)
                assert (
                    len(events.t) + recording.dropped_out_of_frame + bad_stamps
                    == recording.num_events
                )
        except InputError as error:
            assert str(path) in str(error)


def test_the_same_name_in_capitals_or_another_suffix_is_still_recognised(tmp_path):
    write_metavision(tmp_path / "a.hdf5", make_events(50))
    write_events(tmp_path / "b.recording", make_events(50))
    for name in ("a.hdf5", "b.recording"):
        with open_recording(tmp_path / name) as recording:
            assert recording.num_events == 50


@pytest.mark.parametrize("name", WRITERS)
def test_events_are_sorted_on_demand(tmp_path, name):
    """Whatever the order of the file; RAW and DAT hold no other order than that of time."""
    suffix, write = WRITERS[name]
    events = make_events(3000)
    order = (
        np.argsort(events["x"], kind="stable")
        if suffix in (".h5", ".npy", ".npz")
        else np.arange(3000)
    )
    path = write(
        tmp_path / f"a{suffix}", {column: values[order] for column, values in events.items()}
    )
    with open_recording(path, (WIDTH, HEIGHT), sort=True) as r:
        assert (r.width, r.height, r.num_events, r.stamps_corrected) == (WIDTH, HEIGHT, 3000, 0)
        assert (r.t_first_us, r.t_last_us) == (events["t"][0], events["t"][-1])
        found = r.read(0, 400_000)
    rows = np.lexsort([events[column][order] for column in "pyxt"])
    ours = np.lexsort([found.p, found.y, found.x, found.t])
    for column, values in zip("txyp", found, strict=True):
        np.testing.assert_array_equal(values[ours], events[column][order][rows])
    assert (np.diff(found.t) >= 0).all()


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1e-3), ("ns", 1e3)])
def test_stamps_of_other_units(tmp_path, monkeypatch, unit, factor):
    monkeypatch.setattr(hdf5, "_EVENTS_PER_BLOCK", 256)
    events = make_events()
    events["t"] = events["t"] // 1000 * 1000
    events["t"][2000] -= 5000
    stored = events | dict(t=(events["t"] * factor).astype(np.int64))
    with open_recording(write_events(tmp_path / "a.h5", stored), time_unit=unit) as r:
        assert (r.t_first_us, r.t_last_us) == (events["t"][0], events["t"][-1])
        assert r.num_events == 4000 and r.stamps_corrected == 1
        assert np.array_equal(r.read(0, 10**9).t, np.maximum.accumulate(events["t"]))


@pytest.mark.parametrize(("write", "step_us"), [(write_evt2, 64), (write_evt3, 4096)])
def test_a_raw_files_clock_starts_at_its_first_time_high(tmp_path, write, step_us):
    events = make_events(start_us=811_111)
    with open_recording(write(tmp_path / "a.raw", events)) as recording:
        assert recording.clock_start_us == events["t"][0] // step_us * step_us > 0
    with open_recording(write_events(tmp_path / "a.h5", events)) as recording:
        assert recording.clock_start_us == events["t"][0]


def test_a_raw_file_may_begin_with_a_block_without_time_high(tmp_path, monkeypatch):
    """Its clock starts at the first one all the same."""
    monkeypatch.setattr(raw, "_WORDS_PER_BLOCK", 301)
    events = make_events(start_us=811_111)
    rows_only = np.zeros(400, "<u2")
    path = write_raw(tmp_path / "a.raw", np.concatenate([rows_only, evt3_words(events)]), "3.0")
    with open_recording(path) as recording:
        assert recording.clock_start_us == events["t"][0] // 4096 * 4096


class TestEvt21:
    """Words of 64 bits, each with up to 32 neighbours."""

    HIGH = 0x8 << 60 | 5 << 32  # 320 us
    WORD = (
        (1 << 28 | 7 << 22 | 32 << 11 | 9) << 32 | 1 << 31 | 0b101
    )  # on, 7 us later, x 32, 34 and 63, y 9

    def read(self, path):
        with open_recording(path) as recording:
            events = recording.read(*EVERYTHING)
            return list(
                zip(*(column.tolist() for column in events), strict=True)
            ), recording.dropped

    @pytest.mark.parametrize("is_legacy", [False, True])
    def test_neighbours_share_a_word(self, is_legacy, tmp_path):
        words = np.array([self.HIGH, self.WORD], "<u8")
        if is_legacy:
            words = words.view("<u4").reshape(-1, 2)[:, ::-1]
        path = tmp_path / "a.raw"
        format_ = f"EVT21;height=48;width=64{';endianness=legacy' * is_legacy}"
        path.write_bytes(f"% format {format_}\n% end\n".encode() + words.tobytes())
        events, dropped = self.read(path)
        assert events == [(327, 32, 9, 1), (327, 34, 9, 1), (327, 63, 9, 1)] and not any(
            dropped.values()
        )

    def test_events_before_the_first_time_and_a_cut_end_are_counted(self, tmp_path):
        words = np.array([self.WORD, self.HIGH, self.WORD], "<u8").tobytes() + b"abc"
        path = tmp_path / "a.raw"
        path.write_bytes(b"% evt 2.1\n% geometry 64x48\n% end\n" + words)
        events, dropped = self.read(path)
        assert (
            len(events) == 3
            and dropped["events_before_first_time"] == 3
            and dropped["bytes_after_last_word"] == 3
        )

    def test_without_a_size_it_is_a_genx320(self, tmp_path):
        path = tmp_path / "a.raw"
        path.write_bytes(b"% evt 2.1\n% end\n" + np.array([self.HIGH, self.WORD], "<u8").tobytes())
        with open_recording(path) as recording:
            assert (recording.width, recording.height, recording.size_is_assumed) == (
                320,
                320,
                True,
            )


class TestText:
    EVENTS = ((5, 1, 2, 0), (9, 3, 4, 1), (9, 5, 6, 1))

    def read(self, path, text):
        path.write_text(text)
        with open_recording(path) as recording:
            events = recording.read(*EVERYTHING)
            return tuple(zip(*(column.tolist() for column in events), strict=True))

    @pytest.mark.parametrize(
        "text",
        [
            "5 1 2 0\n9 3 4 1\n9 5 6 1\n",
            "5 1 2 0\n9 3 4 1\n9 5 6 1",
            "1,2,0,5\n3,4,1,9\n5,6,1,9\n",
            "1;2;0;5\r\n3;4;1;9\r\n5;6;1;9\r\n",
            "0.000005\t1\t2\t-1\n9e-6\t3\t4\t1\n0.000009\t5\t6\t1\n",
            "p,timestamp,X,y\n0,5,1,2\n1,9,3,4\n1,9,5,6\n",
            "# a comment\n# t x y pol\n5 1 2 0\n9 3 4 1\n9 5 6 1\n",
        ],
    )
    def test_columns_go_by_name_or_by_what_they_hold(self, text, tmp_path):
        assert self.read(tmp_path / "a.txt", text) == self.EVENTS

    @pytest.mark.parametrize(
        "text, told",
        [
            ("hello\nworld\n", "expected lines of t x y p"),
            ("5 1 2 7\n9 3 4 7\n", "no order fits"),
            ("1 1 1 1\n1 1 1 1\n", "several orders fit"),
            ("t,x,y\n5,1,2,0\n", "no column p"),
            ("5 1 2 0\n9 3 4 1\n9 3 x 1\n", "is not four numbers"),
            ("5 1 2 0\n9 3 4 1\n9 3\n", "is not four numbers"),
            ("5 1 2 0\n9 3 4 1\n9 3 nan 1\n", "lacks one of the numbers"),
            ("5 1 2 0\n\n9 3 4 1\n", "empty lines"),
        ],
    )
    def test_what_is_no_list_of_events_is_a_sentence(self, text, told, tmp_path):
        with pytest.raises(InputError, match=rf"a.txt: .*{told}"):
            self.read(tmp_path / "a.txt", text)

    def test_only_text_that_is_named_td_is_a_recording(self, tmp_path):
        from etram_mmdet.events.preprocessing.sources import find_sources

        (tmp_path / "train").mkdir()
        write_events(tmp_path / "train" / "a_td.H5", make_events())
        write_events(tmp_path / "train" / "._a_td.h5", make_events())
        for name in ("b_td.csv", "README.txt"):
            (tmp_path / "train" / name).write_text("1,2,0,5\n")
        for name in ("a_bbox.npy", "b_bbox.npy"):
            (tmp_path / "train" / name).touch()
        sources, _ = find_sources(tmp_path)
        assert [source.events.name for source in sources] == ["a_td.H5", "b_td.csv"]


@pytest.mark.parametrize(
    "head, told",
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"#ROSBAG V2.0\n", "a ROS 1 bag"),
        (b"#!AER-DAT2.0\r\n", "AEDAT 1 to 3"),
        (b"#!AER-DAT4.0\r\n", "AEDAT 4"),
        (b"Event Stream\x02", r"\.es"),
        (b"\x89MCAP0\r\n", "MCAP"),
    ],
)
@pytest.mark.parametrize("suffix", [".raw", ".bin"])
def test_known_formats_that_are_not_read_are_refused_by_name(head, told, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(head + bytes(100))
    with pytest.raises(InputError, match=rf"a{suffix}: .*{told}"):
        open_recording(path)


def test_a_pixel_beyond_every_number_does_not_decide_the_sensor(tmp_path):
    """2^63 is negative as a signed number."""
    events = make_events(100)
    x = events["x"].astype(np.uint64)
    x[3] = 1 << 63
    np.savez(tmp_path / "a.npz", **(events | dict(x=x)))
    with open_recording(tmp_path / "a.npz") as recording:
        assert (recording.width, recording.height) == (304, 240) and recording.num_events == 100
