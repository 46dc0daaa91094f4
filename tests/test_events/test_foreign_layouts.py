"""Recordings of other software: sizes, columns, clocks, incomplete files, AEDAT 4."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import h5py
import numpy as np
import pytest

from etram_mmdet.events.formats import aedat4, open_recording
from etram_mmdet.events.formats.array_files import load_array, open_hdf5
from etram_mmdet.events.formats.writing import write_recording
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.utils.errors import InputError
from tests.helpers import encoders
from tests.helpers.raw import HEIGHT, WIDTH, make_boxes, make_events, write_events

EVERYTHING = (-(1 << 63), (1 << 63) - 1)


def assert_holds(path, events, **options):
    with open_recording(path, **options) as recording:
        for name, column in recording.read(*EVERYTHING)._asdict().items():
            np.testing.assert_array_equal(column, events[name])
        recording.read_rest()
        assert recording.num_events == len(events["t"]) and not any(recording.dropped.values())


def spread(width, height, num=600):
    """Events that reach the last pixel of such a sensor."""
    events = make_events(num)
    return events | dict(
        x=np.linspace(0, width - 1, num).astype("u2"),
        y=np.linspace(0, height - 1, num).astype("u2"),
    )


@pytest.mark.parametrize(
    "reach, size",
    [
        ((304, 240), (304, 240)),
        ((346, 200), (346, 260)),
        ((320, 320), (320, 320)),
        ((640, 480), (640, 480)),
        ((640, 481), (1280, 720)),
        ((1280, 720), (1280, 720)),
    ],
)
def test_without_a_size_the_smallest_known_sensor_is_assumed(reach, size, tmp_path):
    path = write_events(tmp_path / "a.h5", spread(*reach))
    with h5py.File(path, "r+") as file:
        del file["events/width"], file["events/height"]
    with open_recording(path) as recording:
        assert (recording.width, recording.height, recording.size_is_assumed) == (*size, True)


@pytest.mark.parametrize(
    "place, attributes, size",
    [
        ("/", dict(width=400.0, height=np.float32(300)), (400, 300)),
        ("events", dict(width=np.array([400]), height=np.array([[300.0]])), (400, 300)),
        ("events", dict(width=b"400", height="300"), (400, 300)),
        ("/", dict(sensor_width=400, sensor_height=300), (400, 300)),
        ("/", dict(sensor_resolution=[300, 400]), (400, 300)),
        ("events", dict(sensor_resolution=[400.0, 300.0]), (400, 300)),
        ("/", dict(sensor_size=(400, 300)), (400, 300)),
        ("/", dict(resolution="400x300"), (400, 300)),
        ("/", dict(geometry="400x300"), (400, 300)),
        ("/", dict(geometry=np.array([b"400x300"])), (400, 300)),
        ("/", dict(width=400.5, height=300), None),
        ("/", dict(width=np.nan, height=300), None),
        ("/", dict(width=400), None),
        ("/", dict(sensor_resolution=[1, 2, 3]), None),
        ("/", dict(geometry="wide"), None),
        ("/", dict(width=h5py.Empty("f4"), height=-1), None),
    ],
)
def test_the_size_is_read_in_every_known_spelling(place, attributes, size, tmp_path):
    path = write_events(tmp_path / "a.h5", make_events(100))
    with h5py.File(path, "r+") as file:
        del file["events/width"], file["events/height"]
        file[place].attrs.update(attributes)
    with open_recording(path) as recording:
        found = (recording.width, recording.height)
        assert (found, recording.size_is_assumed) == ((size, False) if size else ((304, 240), True))


def test_a_converted_npz_keeps_the_size(tmp_path):
    with open_recording(write_events(tmp_path / "a.h5", make_events())) as recording:
        write_recording(recording, tmp_path / "b.npz")
    with open_recording(tmp_path / "b.npz") as recording:
        assert (recording.width, recording.height, recording.size_is_assumed) == (
            WIDTH,
            HEIGHT,
            False,
        )


class TestColumns:
    EVENTS = make_events(50)

    def test_columns_of_text_are_given(self, tmp_path):
        rows = zip(*(self.EVENTS[name] for name in "ptyx"), strict=True)
        text = "\n".join(f"{number},{','.join(map(str, row))}" for number, row in enumerate(rows))
        path = tmp_path / "a.csv"
        path.write_text(f"a,b,c,d,e\n{text}\n")
        assert_holds(path, self.EVENTS, columns="number,p,t,y,x")
        with pytest.raises(InputError, match=r"a.csv: no column t .*--event-columns"):
            open_recording(path)
        with pytest.raises(InputError, match="an event has 5 columns, expected 6"):
            open_recording(path, columns="t,x,y,a,b,p")

    @pytest.mark.parametrize("suffix", [".npy", ".h5"])
    def test_columns_of_an_array_are_given(self, suffix, tmp_path):
        array = encoders.numbers(self.EVENTS, "pytx", "i8")
        path = tmp_path / f"a{suffix}"
        if suffix == ".npy":
            np.save(path, array)
        else:
            with h5py.File(path, "w") as file:
                file["events"] = array
        assert_holds(path, self.EVENTS, columns="p,y,t,x")
        with pytest.raises(
            InputError, match=r"no order fits its first events; name .*--event-columns"
        ):
            open_recording(path)
        with pytest.raises(InputError, match=r"4 columns|expected numbers"):
            open_recording(path, columns="p,y,t,a,x")

    @pytest.mark.parametrize("name", ["h5", "npy", "npz columns", "h5 compound", "EVT 2.0"])
    def test_columns_with_names_are_not_given(self, name, tmp_path):
        suffix, write = encoders.WRITERS[name]
        path = write(tmp_path / f"a{suffix}", self.EVENTS)
        with pytest.raises(
            InputError, match=f"a{suffix}: the file names its columns itself; remove"
        ):
            open_recording(path, columns="t,x,y,p")

    @pytest.mark.parametrize(
        "columns, missing", [("t,x,y", "p"), ("", "t"), ("t x y p", "t"), ("x,y,p,when", "t")]
    )
    def test_columns_name_all_four(self, columns, missing, tmp_path):
        path = encoders.write_text(tmp_path / "a.txt", self.EVENTS)
        with pytest.raises(InputError, match=f"columns '{columns}': no {missing}, expected"):
            open_recording(path, columns=columns)

    @pytest.mark.parametrize("order", ["txyp", "xypt", "xytp"])
    @pytest.mark.parametrize("by_column", [False, True])
    def test_the_order_of_an_array_is_found(self, order, by_column, tmp_path):
        events = make_events(300)
        events["t"][[5, 20]] -= 300  # some stamps step back
        array = encoders.numbers(events, order, "f4")
        np.save(tmp_path / "a.npy", np.asfortranarray(array) if by_column else array)
        with open_recording(tmp_path / "a.npy") as recording:
            assert (
                sorted(recording.read(*EVERYTHING).x) == sorted(events["x"])
                and recording.stamps_corrected <= 4
            )

    def test_arrays_in_the_order_of_pixels_are_not_guessed_wrongly(self, tmp_path):
        """x rises as times do, but then the times would be pixels."""
        events = make_events(300)
        order = np.argsort(events["x"], kind="stable")
        np.save(
            tmp_path / "a.npy",
            encoders.numbers({n: c[order] for n, c in events.items()}, "xytp", "i8"),
        )
        with pytest.raises(InputError, match="no order fits"):
            open_recording(tmp_path / "a.npy")

    @pytest.mark.parametrize("kind", ["members", "no names", "no order", "damaged", "other"])
    def test_a_file_that_is_refused_is_closed(self, kind, tmp_path):
        """At once, and not when Python collects garbage, which may be in the midst of a test."""
        columns = {}
        numbers = encoders.numbers(self.EVENTS, "pytx", "i8")
        if kind == "members":
            path = encoders.WRITERS["npz columns"][1](tmp_path / "a.npz", self.EVENTS)
            columns = dict(columns="t,x,y,p")
        elif kind == "no names":
            np.savez(path := tmp_path / "a.npz", a=numbers[:, 0], b=numbers[:, 1])
        elif kind == "no order":
            np.save(path := tmp_path / "a.npy", np.asfortranarray(numbers))
        elif kind == "damaged":
            np.savez(path := tmp_path / "a.npz", **self.EVENTS)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("z.npy", b"no header")
        else:
            np.savez(path := tmp_path / "a.npz", **self.EVENTS, other=np.zeros(7))
        gc.disable()
        try:
            if kind == "other":
                open_recording(path).close()
            else:
                with pytest.raises(InputError):
                    open_recording(path, **columns)
            links = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
        finally:
            gc.enable()
        assert str(path) not in links


class TestFloatingPoint:
    def path(self, tmp_path, t):
        np.savez(tmp_path / "a.npz", **(make_events(len(t)) | dict(t=t)))
        return tmp_path / "a.npz"

    @pytest.mark.parametrize(
        "unit, stamps, expected",
        [
            ("us", [0.000005, 1.5, 2.0], [5, 1_500_000, 2_000_000]),
            ("us", [5.0, 6.0, 7.0], [5, 6, 7]),
            ("ms", [0.25, 1.0, 1.75], [250, 1000, 1750]),
            ("ns", [1500.0, 2500.4, 3600.0], [2, 3, 4]),
        ],
    )
    def test_stamps_with_fractions_are_seconds_unless_a_unit_is_stated(
        self, unit, stamps, expected, tmp_path
    ):
        with open_recording(self.path(tmp_path, np.array(stamps)), time_unit=unit) as recording:
            assert recording.read(*EVERYTHING).t.tolist() == expected

    def test_milliseconds_with_fractions_in_text(self, tmp_path):
        (tmp_path / "a.txt").write_text("0.25 1 2 0\n1.5 3 4 1\n")
        with open_recording(tmp_path / "a.txt", time_unit="ms") as recording:
            assert recording.read(*EVERYTHING).t.tolist() == [250, 1500]

    @pytest.mark.filterwarnings("error")
    def test_what_is_no_number_is_counted(self, tmp_path):
        events = make_events(2000)
        array = encoders.numbers(events, "txyp", "f8", seconds=True)
        array[[700, 800], 0] = np.nan, 1e300
        array[[900, 901], [1, 2]] = np.nan, -np.inf
        np.save(tmp_path / "a.npy", array)
        with open_recording(tmp_path / "a.npy") as recording:
            recording.read_rest()
            assert recording.dropped == {"events_out_of_frame": 2, "events_with_bad_stamp": 2}
            expected = np.delete(events["t"], [700, 800, 900, 901])
            np.testing.assert_array_equal(recording.read(*EVERYTHING).t, expected)


def test_what_is_there_and_not_used_is_told(tmp_path):
    events = make_events()
    with open_recording(encoders.write_m3ed(tmp_path / "m.h5", events)) as recording:
        assert recording.notes == ("the left camera's events are read, those of the right are not",)
    train = tmp_path / "raw" / "train"
    train.mkdir(parents=True)
    path = encoders.write_dsec(train / "a_td.h5", events)
    np.save(train / "a_bbox.npy", make_boxes([100_000, 200_000, 300_000]))
    (tmp_path / "raw" / "train" / "rectify_map.h5").write_bytes(b"")
    with open_recording(path, sort=True) as recording:
        assert "rectify_map is not used" in recording.notes[0]
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "out", keep_implausible=True)
    assert "NOTE train/a: rectify_map is not used: pixels are those of the sensor" in str(summary)


def test_recordings_that_seem_to_have_different_sensors_are_told(tmp_path):
    train = tmp_path / "raw" / "train"
    train.mkdir(parents=True)
    for name, events in (("a", make_events()), ("b", spread(640, 480, 4000))):
        encoders.write_npz_columns(train / f"{name}_td.npz", events)
        np.save(train / f"{name}_bbox.npy", make_boxes([100_000, 200_000, 300_000]))
    text = str(preprocess_folder(tmp_path / "raw", tmp_path / "out", keep_implausible=True))
    assert "taken as 304x240 for train/a, 640x480 for train/b" in text
    assert (
        "WARNING recordings have sensors of 304x240, 640x480, but a data set needs one size" in text
    )


class TestIncomplete:
    @pytest.mark.parametrize("suffix", [".part", ".crdownload", ".TMP"])
    def test_names_of_downloads(self, suffix, tmp_path):
        path = write_events(tmp_path / "a.h5", make_events(10)).rename(tmp_path / f"a.h5{suffix}")
        with pytest.raises(
            InputError,
            match=f"a.h5{suffix}: its suffix marks an unfinished copy or download",
        ):
            open_recording(path)

    def test_hdf5_that_another_process_writes(self, tmp_path):
        path = tmp_path / "a.h5"
        program = (
            f"import h5py; f = h5py.File({str(path)!r}, 'w'); f['a'] = 1; f.flush(); "
            "print(flush=True); input()"
        )
        environment = {**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"}
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        ) as writer:
            writer.stdout.readline()
            with pytest.raises(
                InputError, match=r"a.h5: another process is still writing it; wait"
            ):
                open_recording(path)
            writer.communicate(b"\n")

    def test_hdf5_whose_writer_ended_before_it_closed_the_file(self, tmp_path):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file["a"] = np.arange(3)
            file.flush()
            file.swmr_mode = True
            copy = path.read_bytes()
        path.write_bytes(copy)
        with pytest.raises(
            InputError, match=r"another program still writes the file, or ended without .*h5clear"
        ):
            open_recording(path)

    def test_pointers_of_git_lfs_in_the_place_of_other_files(self, tmp_path):
        for name, read in (("a_bbox.npy", load_array), ("a.h5", open_hdf5)):
            (tmp_path / name).write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
            )
            with pytest.raises(
                InputError, match=f"{name}: a pointer of Git LFS, not the file itself; fetch"
            ):
                read(tmp_path / name)


class FakeDecoder:
    """As `aedat.Decoder`: packets of streams in turns, events as structured arrays."""

    events = make_events(1000, start_us=1_600_000_000_000_000)
    streams: ClassVar[dict] = {
        0: dict(type="events", width=346, height=260),
        1: dict(type="frame", width=346, height=260),
        4: dict(type="events", width=346, height=260),
    }

    def __init__(self, path):
        assert isinstance(path, str) and Path(path).is_file()
        kinds = [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")]
        table = np.empty(len(self.events["t"]), kinds)
        for name in "txyp":
            table[name] = self.events[name]
        self._packets = iter(self.packets(table))

    @staticmethod
    def packets(table):
        for start in range(0, len(table), 130):
            yield dict(stream_id=0, events=table[start : start + 130])
            yield dict(stream_id=0, events=table[:0])
            yield dict(stream_id=1, frame={})
            yield dict(stream_id=4, events=table[:50])

    def id_to_stream(self):
        return self.streams

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._packets)


class TestAedat4:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "a.aedat4"
        path.write_bytes(self.file(self.packet(0, 9), self.packet(4, 3), b"index of the packets"))
        return path

    @staticmethod
    def packet(stream, num_bytes):
        return np.array([stream, num_bytes], "<u4").tobytes() + bytes(num_bytes)

    @staticmethod
    def file(*packets):
        """First line, description with its length and the place of the index, packets, index."""
        place = 30 + sum(map(len, packets[:-1]))
        return (
            b"#!AER-DAT4.0\r\n"
            + np.array([12, 1], "<u4").tobytes()
            + place.to_bytes(8, "little")
            + b"".join(packets)
        )

    def test_lengths_beyond_the_file_are_refused_before_memory_is_taken(self, path, package):
        path.write_bytes(
            self.file(
                self.packet(0, 9), np.array([1, 1 << 31], "<u4").tobytes(), bytes(100), b"index"
            )
        )
        with pytest.raises(
            InputError, match=r"160 bytes long, expected 2,147,483,703 or more; the file is damaged"
        ):
            open_recording(path)
        path.write_bytes(b"#!AER-DAT4.0\r\n" + np.array(1 << 31, "<u4").tobytes() + bytes(100))
        with pytest.raises(InputError, match="118 bytes long, expected 2,147,483,666"):
            open_recording(path)

    @pytest.fixture
    def package(self, monkeypatch):
        package = ModuleType("aedat")
        package.Decoder = FakeDecoder
        monkeypatch.setitem(sys.modules, "aedat", package)
        return package

    def test_windows_in_any_order(self, path, package, monkeypatch):
        monkeypatch.setattr(aedat4, "_EVENTS_PER_BLOCK", 100)
        events = FakeDecoder.events
        first_us = events["t"][0]
        with open_recording(path) as recording:
            assert (recording.width, recording.height, recording.size_is_assumed) == (
                346,
                260,
                False,
            )
            assert (recording.num_events, recording.t_last_us) == (1000, events["t"][-1])
            assert recording.notes == ("events of stream 0 are read, those of 4 are not",)
            for start_us in (first_us, first_us + 200_000, first_us + 90_000, first_us + 350_000):
                window = (events["t"] >= start_us) & (events["t"] <= start_us + 50_000)
                for name, column in recording.read(start_us, start_us + 50_000)._asdict().items():
                    np.testing.assert_array_equal(column, events[name][window])
        assert_holds(path, events)

    def test_a_missing_package_is_a_sentence(self, path, monkeypatch):
        monkeypatch.setitem(sys.modules, "aedat", None)
        with pytest.raises(
            InputError, match="aedat package, which is not installed; run pip install aedat"
        ):
            open_recording(path)

    def test_what_the_decoder_raises_is_damage(self, path, package, monkeypatch):
        class Panic(BaseException):
            """As those of Rust."""

        def packets(table):
            yield dict(stream_id=0, events=table[:10])
            raise Panic("index out of range")

        monkeypatch.setattr(FakeDecoder, "packets", staticmethod(packets))
        with pytest.raises(
            InputError, match=r"not readable as AEDAT 4 \(index out of range\); the file is damaged"
        ):
            open_recording(path)
        monkeypatch.setattr(FakeDecoder, "streams", {1: dict(type="imus")})
        with pytest.raises(InputError, match=r"holds no stream of events \(found: imus\)"):
            open_recording(path)

    def test_a_real_file(self, shared):
        """That of faery's source distribution (tests/data), named by ETRAM_AEDAT4."""
        pytest.importorskip("aedat")
        real = os.environ.get("ETRAM_AEDAT4")
        if not real:
            pytest.skip("ETRAM_AEDAT4 does not name davis346.aedat4 of faery's source distribution")
        with (
            open_recording(real) as recording,
            open_recording(shared / "data/real/cars346/test/street_davis346_td.h5") as same,
        ):
            ours, expected = recording.read(*EVERYTHING), same.read(*EVERYTHING)
            assert len(ours.t) == 78_830
            for name in "xyp":
                np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name))
            np.testing.assert_array_equal(ours.t - ours.t[0], expected.t - expected.t[0])
