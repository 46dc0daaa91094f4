"""RAW bytes in pieces: the events of the file whatever the pieces, and garbage is refused."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.deploy.sources.intake import joined
from etram_mmdet.deploy.sources.raw_garbage import GarbageFilter
from etram_mmdet.deploy.sources.raw_guess import Coding
from etram_mmdet.deploy.sources.raw_stream import RawStream
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.formats.raw import ENCODINGS
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import (
    evt2_words,
    evt3_words,
    write_evt2,
    write_evt3,
    write_evt21,
    write_raw,
)
from tests.helpers.raw import HEIGHT, WIDTH, make_events

WRITERS = {"2.0": write_evt2, "2.1": write_evt21, "3.0": write_evt3}
HEADER_END = b"% end\n"


def streamed(data: bytes, size: int, **options):
    """Events of bytes that come in pieces of a size, and the stream."""
    stream = RawStream("pipe", **options)
    parts = [stream(data[start : start + size]) for start in range(0, len(data), size)]
    events = joined(*parts, stream.finish())
    stream.check()
    return events, stream


def assert_same(events, path):
    with open_recording(path, (WIDTH, HEIGHT)) as recording:
        expected = recording.read(0, 1 << 60)
    for column, other in zip(events, expected, strict=True):
        assert column.dtype == other.dtype
        np.testing.assert_array_equal(column, other)


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("size", [1, 3, 7, 1000, 1 << 20])
def test_pieces_of_any_size_give_the_events_of_the_file(tmp_path, version, size):
    events = make_events(num=800 if size == 1 else 4000, start_us=17 * 1_000_000)
    path = WRITERS[version](tmp_path / "a.raw", events)
    found, stream = streamed(path.read_bytes(), size)
    assert_same(found, path)
    assert (stream.intake.width, stream.intake.height) == (WIDTH, HEIGHT)
    assert not stream.size_is_assumed


@pytest.mark.parametrize("version", WRITERS)
def test_the_encoding_of_bytes_without_a_header_is_found(tmp_path, version):
    path = WRITERS[version](tmp_path / "a.raw", make_events())
    body = path.read_bytes().partition(HEADER_END)[2]
    found, stream = streamed(body, 999, likely_px=(WIDTH, HEIGHT))
    assert_same(found, path)
    assert (stream.intake.width, stream.intake.height) == (WIDTH, HEIGHT)
    assert stream.size_is_assumed


def test_words_of_32_bits_are_not_taken_for_halves_of_longer_ones(tmp_path):
    path = write_evt2(tmp_path / "a.raw", make_events())
    body = path.read_bytes().partition(HEADER_END)[2]
    odd = np.array([0x20000000], "<u4").tobytes()  # no word that exists
    assert_same(streamed(odd + body, 999, likely_px=(WIDTH, HEIGHT))[0], path)


def test_words_with_the_upper_half_first_are_known_by_the_header_or_found(tmp_path):
    path = write_evt21(tmp_path / "a.raw", make_events())
    body = path.read_bytes().partition(HEADER_END)[2]
    swapped = np.frombuffer(body, "<u4").reshape(-1, 2)[:, ::-1].tobytes()
    header = f"% format EVT21;endianness=legacy;height={HEIGHT};width={WIDTH}\n% end\n".encode()
    for data, options in ((header + swapped, {}), (swapped, dict(sensor_px=(WIDTH, HEIGHT)))):
        assert_same(streamed(data, 1234, **options)[0], path)


def test_a_header_without_an_end_is_read(tmp_path):
    path = write_evt3(tmp_path / "a.raw", make_events())
    assert_same(streamed(path.read_bytes().replace(HEADER_END, b""), 5)[0], path)


def test_times_go_on_where_the_counter_of_the_words_starts_again(tmp_path):
    events = make_events(span_us=400_000, start_us=(1 << 24) - 200_000)
    path = write_evt3(tmp_path / "a.raw", events)
    found, _ = streamed(path.read_bytes(), 333)
    assert found.t[-1] - found.t[0] == events["t"][-1] - events["t"][0]


@pytest.mark.parametrize("damaged", [0x8000, 0x8F00])
def test_a_damaged_first_time_is_found_out_as_in_the_file(tmp_path, damaged):
    words = evt3_words(make_events(start_us=1600 << 12))
    words[np.flatnonzero(words >> 12 == 8)[0]] = damaged
    path = write_raw(tmp_path / "a.raw", words, "3.0")
    assert_same(streamed(path.read_bytes(), 99)[0], path)


@pytest.mark.parametrize("name", ["driving_evt3.raw", "sparklers_evt2.raw"])
def test_real_recordings_come_through_as_from_the_file(shared, name):
    data = (shared / "data" / name).read_bytes()
    found, stream = streamed(data, 65536)
    with open_recording(shared / "data" / name) as recording:
        for column, other in zip(found, recording.read(0, 1 << 60), strict=True):
            np.testing.assert_array_equal(column, other)
    assert stream.dropped == {}


def test_a_likely_size_that_the_events_do_not_fit_is_not_taken(tmp_path):
    body = write_evt3(tmp_path / "a.raw", make_events()).read_bytes().partition(HEADER_END)[2]
    _, stream = streamed(body, 1 << 20, likely_px=(WIDTH // 2, HEIGHT))
    assert (stream.intake.width, stream.intake.height) == (1280, 720)


def test_a_stated_size_is_taken_but_not_against_the_header(tmp_path):
    data = write_evt3(tmp_path / "a.raw", make_events()).read_bytes()
    _, stream = streamed(data.partition(HEADER_END)[2], 1 << 20, sensor_px=(100, 90))
    assert (stream.intake.width, stream.intake.height) == (100, 90)
    with pytest.raises(InputError, match=rf"says a sensor of {WIDTH}x{HEIGHT}, not 100x90"):
        streamed(data, 1 << 20, sensor_px=(100, 90))


def test_what_a_stream_loses_at_its_ends_is_counted(tmp_path):
    words = evt3_words(make_events(num=500))
    first_time = np.flatnonzero(words >> 12 == 8)[0]
    before = np.array([0x0001, 0x2001, 0x2002], np.uint16)  # a row and two events
    path = write_raw(tmp_path / "a.raw", np.concatenate([before, words[first_time:]]), "3.0")
    found, stream = streamed(path.read_bytes() + b"x", 100)
    assert len(found.t) == 500
    assert stream.dropped == {"events_before_first_time": 2, "bytes_after_last_word": 1}


def test_time_is_known_while_no_event_comes():
    stream = RawStream("pipe", sensor_px=(WIDTH, HEIGHT))
    events = make_events()
    stream(b"% evt 3.0\n% end\n" + evt3_words(events).tobytes())
    times = np.array([[0x8000 | high, 0x6000] for high in range(98, 1000)], np.uint16)
    stream(times.tobytes())
    assert stream.reached_us == (999 << 12) - 5000


def garbage_of(kind: str, num_bytes: int) -> bytes:
    if kind == "random":
        return np.random.default_rng(num_bytes).bytes(num_bytes)
    return (b"WARNING: the camera is hot, 81 degrees\n" * num_bytes)[:num_bytes]


def rows_of(events) -> set[tuple[int, ...]]:
    return set(zip(*(events[name].tolist() for name in "txyp"), strict=True))


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("kind", ["random", "text"])
@pytest.mark.parametrize("num_bytes", [160, 4001, 50_002])
@pytest.mark.parametrize("size", [1 << 20, 4999])
def test_events_before_and_after_garbage_are_kept(tmp_path, version, kind, num_bytes, size):
    """Also within one piece, and if the garbage is no whole number of words long."""
    before = make_events(num=2000, start_us=2_000_000)
    after = make_events(num=2000, start_us=2_400_000, seed=1)
    parts = []
    for events in (before, after):
        parts.append(WRITERS[version](tmp_path / "a.raw", events).read_bytes())
    body = parts[1].partition(HEADER_END)[2]
    garbage = garbage_of(kind, num_bytes)
    found, stream = streamed(parts[0] + garbage + body, size)
    kept = rows_of(found._asdict())
    assert rows_of(before) | rows_of(after) <= kept
    # what passes for events by chance: a few words at the edges of the garbage
    num_false = len(kept) - len(rows_of(before) | rows_of(after))
    assert num_false <= 5
    lost = stream.dropped.pop("bytes_of_garbage")
    assert num_bytes - 40 <= lost <= num_bytes
    assert stream.dropped.keys() <= {"bytes_of_garbage", "events_out_of_frame", "time_high_gaps"}


def test_events_whose_row_was_lost_are_dropped_and_counted():
    """In EVT 3.0 a row and a time hold until the next ones come."""
    words = evt3_words(make_events(num=3000, start_us=2_000_000))
    highs = np.flatnonzero(words >> 12 == 8)
    lost_row = words[highs[20] + 1 :][words[highs[20] + 1 :] >> 12 != 0]
    cut = np.concatenate([words[: highs[10]], words[highs[20] : highs[20] + 1], lost_row])
    place = 2 * highs[10]
    data = cut.tobytes()
    header = f"% evt 3.0\n% geometry {WIDTH}x{HEIGHT}\n% end\n".encode()
    found, stream = streamed(header + data[:place] + garbage_of("random", 500) + data[place:], 999)
    num_after = np.count_nonzero(lost_row >> 12 == 2)
    assert stream.dropped["events_after_garbage"] == num_after
    assert len(found.t) == 3000 - num_after - np.count_nonzero(
        words[highs[10] : highs[20]] >> 12 == 2
    )


def test_damage_is_no_garbage(tmp_path):
    """Single words that cannot be are passed over, as in a file."""
    words = evt3_words(make_events(start_us=2_000_000))
    words = np.insert(words, np.arange(100, len(words), 100), 0xB123)
    path = write_raw(tmp_path / "a.raw", words, "3.0")
    found, stream = streamed(path.read_bytes(), 777)
    assert_same(found, path)
    assert stream.dropped == {}


@pytest.mark.parametrize("version", ["2.0", "3.0"])
@pytest.mark.parametrize("states_size", [True, False])
def test_pixels_of_a_larger_sensor_are_no_garbage(version, states_size):
    """The header states the size, or the user does."""
    events = make_events(num=3000, start_us=2_000_000)
    events["x"] += 1920 - WIDTH
    words = {"2.0": evt2_words, "3.0": evt3_words}[version](events)
    geometry = "% geometry 1920x1080\n" if states_size else ""
    data = f"% evt {version}\n{geometry}% end\n".encode() + words.tobytes()
    found, stream = streamed(data, 4999, sensor_px=None if states_size else (1920, 1080))
    assert rows_of(found._asdict()) == rows_of(events) and stream.dropped == {}


def test_few_words_wait_until_they_can_be_judged():
    """Times of two clocks in turns are odd, but no garbage."""
    words = evt3_words(make_events(num=1000, start_us=2_000_000))
    clocks = np.tile(np.array([0x8064, 0x6001, 0x87D0, 0x6001], np.uint16), 3000)
    data = np.concatenate([words, np.array([0xB123], np.uint16), clocks]).tobytes()
    coding = Coding(ENCODINGS["3.0"], False)
    pieces, rest = GarbageFilter("a", coding)(bytearray(data), is_last=False)
    assert not rest and sum(len(piece.words) for piece in pieces) == len(data) // 2


def test_a_clock_that_begins_again_behind_garbage_is_followed():
    times = [make_events(num=2000, start_us=start) for start in (9_000_000, 2_000_000)]
    parts = [evt3_words(events).tobytes() for events in times]
    header = f"% evt 3.0\n% geometry {WIDTH}x{HEIGHT}\n% end\n".encode()
    found, stream = streamed(header + parts[0] + garbage_of("text", 3001) + parts[1], 4096)
    assert len(found.t) >= 3980 and stream.intake.num_restarts == 1


RANDOM = np.random.default_rng(0).bytes(1 << 18)
GARBAGE = {
    "random": (RANDOM, f"begins with {RANDOM[:8]!r}"),
    "web page": (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n" * 3000, "begins with b'HTTP/1.1'"),
    "zeros": (bytes(1 << 18), "sends no events"),
    "three bytes": (b"abc", "sends no events"),
    "endless header": (b"% a b c\n" * 10_000, "header does not end"),
    "cut header": (b"% evt 3.0\n% geome", "header does not end"),
    "EVT 4": (b"% evt 4.0\n% end\n" + RANDOM, "EVT 4.0; expected EVT 2.0, 2.1 or 3.0"),
    "no encoding": (b"% date 2026\n% end\n" + RANDOM, "no line '% evt"),
    "large sensor": (b"% evt 3.0\n% geometry 90000x9\n% end\n", "90000x9"),
    "header, then random": (b"% evt 3.0\n% end\n" + RANDOM, "bytes in a row cannot be used"),
    "much garbage between": (
        b"% evt 2.0\n% end\n"
        + b"".join(
            evt2_words(make_events(num=500, start_us=500_000 * k)).tobytes() + RANDOM[:9000]
            for k in range(99)
        ),
        "bytes cannot be used; what it sends is damaged",
    ),
    "header, then zeros": (b"% evt 3.0\n% end\n" + bytes(1 << 22), "words without a time"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_refused_in_one_sentence(kind):
    data, message = GARBAGE[kind]
    with pytest.raises(InputError, match=r"^pipe: ") as error:
        streamed(data, 1 << 16)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
