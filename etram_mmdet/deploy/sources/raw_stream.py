"""Decode RAW bytes as they come: EVT 2.0, 2.1 and 3.0, with or without Prophesee's header."""

from __future__ import annotations

import numpy as np

from etram_mmdet.deploy.sources.intake import Intake, joined
from etram_mmdet.deploy.sources.raw_garbage import GarbageFilter, Piece
from etram_mmdet.deploy.sources.raw_guess import (
    LEAST_GUESSED_BYTES,
    MOST_GUESSED_BYTES,
    Coding,
    guess_coding,
)
from etram_mmdet.events.damage import MAX_DAMAGED
from etram_mmdet.events.formats import evt
from etram_mmdet.events.formats.prophesee_header import LONGEST_HEADER_BYTES, parse_percent_header
from etram_mmdet.events.formats.raw import encoding_of, heads, is_legacy, sensor_of
from etram_mmdet.events.on_sensor import check_sensor
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.utils.errors import InputError

# Times to wait for at the start. The first one is the median of three, and the others contradict
# it if it is damaged. The decoder of a file looks for them in so many words.
_FIRST_TIMES = 8
_MOST_FIRST_WORDS = 1 << 20
_MOST_QUIET_WORDS = 1 << 20  # cameras send the time at least every 4 ms, whatever happens
_EXPECTED = "expected RAW bytes in EVT 2.0, 2.1 or 3.0"


class RawDecoder:
    """Decodes RAW bytes in pieces of any length.

    The events are those that :class:`etram_mmdet.events.formats.raw.RawRecording` decodes from a
    file of these bytes, but for garbage: :class:`GarbageFilter` leaves it out. The first ones come
    when eight times have come.

    Args:
        name: of the source, for messages.
        expected_px: width and height of the sensor if the header does not state them. Default: the
            size of the camera that introduced the encoding.

    Attributes:
        sensor_px: width and height of the sensor by the header, else by the encoding; None until
            the header has come.
        size_is_assumed: whether the header states no size.
    """

    def __init__(self, name: str, expected_px: tuple[int, int] | None = None) -> None:
        self.name = name
        self._expected_px = expected_px
        self.sensor_px: tuple[int, int] | None = None
        self.size_is_assumed = False
        self._rest = b""  # bytes that are not judged yet
        self._waiting: list[Piece] = []  # words before the first time is known
        self._filter: GarbageFilter | None = None
        self._num_unsure = 0  # events
        self._coding: Coding | None = None
        self._registers = np.zeros(evt.NUM_REGISTERS, np.int64)
        self._num_quiet = 0  # words since the last time or event

    @property
    def dropped(self) -> dict[str, int]:
        """Number of dropped events, and of faults in the bytes, by reason."""
        found = {
            "events_before_first_time": int(self._registers[evt.EVENTS_WITHOUT_TIME]),
            "time_high_gaps": int(self._registers[evt.TIME_HIGH_GAPS]),
            "events_after_garbage": self._num_unsure,
            "bytes_of_garbage": self._filter.num_bytes if self._filter else 0,
        }
        return {reason: count for reason, count in found.items() if count}

    @property
    def now_us(self) -> int:
        """Time of the last word with a time, in microseconds."""
        if self._coding is None:
            return 0
        encoding = self._coding.encoding
        loops, high = self._registers[[evt.LOOPS, evt.TIME_HIGH]].tolist()
        return ((loops << encoding.time_bits) + high) << encoding.time_place

    def __call__(self, data: bytes, is_last: bool = False) -> Events:
        """Events of the next bytes, in their order.

        Args:
            data: the bytes.
            is_last: whether no byte follows. Default: False.

        Raises:
            InputError: the bytes are of no known encoding.
        """
        self.check()
        data = bytearray(self._rest + data)  # numba would compile its loops again for bytes
        if self._coding is None:
            data = data[self._begin(data, is_last) :]
        if self._coding is None:
            self._rest = bytes(data)
            return NO_EVENTS
        pieces, self._rest = self._filter(data, is_last)
        self._wait(pieces)
        if not self._waiting or not (is_last or self._has_time()):
            return NO_EVENTS
        pieces = self._waiting
        self._waiting = []
        events = joined(*map(self._decoded, pieces))
        self._refuse_garbage(pieces, len(events.t))
        return events

    def check(self) -> None:
        """Raise ``InputError`` if what came before was garbage, see :class:`GarbageFilter`."""
        if self._filter is not None:
            self._filter.check()

    @property
    def rest(self) -> bytes:
        """Bytes at the end that are not decoded."""
        return self._rest

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be decoded."""
        return not (self._rest or self._waiting)

    def _wait(self, pieces: list[Piece]) -> None:
        """Add words to those that wait; those of one stretch become one piece."""
        for piece in pieces:
            if self._waiting and not piece.num_unsure and not piece.follows_garbage:
                piece = self._waiting.pop().with_more(piece.words)
            self._waiting.append(piece)

    def _decoded(self, piece: Piece) -> Events:
        encoding = self._coding.encoding
        if piece.num_unsure:
            self._num_unsure += len(
                encoding.decoded(piece.words[: piece.num_unsure], self._registers).t
            )
        return encoding.decoded(piece.words[piece.num_unsure :], self._registers)

    def _begin(self, data: bytearray, is_last: bool) -> int:
        """Find out the encoding from the first bytes; returns the length of the header."""
        header = parse_percent_header(data, is_last)
        if header is None:
            if len(data) > LONGEST_HEADER_BYTES or is_last:
                raise InputError(f"{self.name}: its text header does not end; {_EXPECTED}")
            return 0
        if header.num_bytes:
            coding = Coding(encoding_of(self.name, header), is_legacy(header))
        else:
            coding = self._guess(data, is_last)
        if coding is None:
            return 0
        self._coding = coding
        self.sensor_px, self.size_is_assumed = sensor_of(header, coding.encoding)
        check_sensor(self.name, *self.sensor_px)
        likely_px = self._expected_px if self.size_is_assumed else None
        self._filter = GarbageFilter(self.name, coding, likely_px or self.sensor_px)
        return header.num_bytes

    def _guess(self, data: bytearray, is_last: bool) -> Coding | None:
        """The encoding of bytes without a header; None while more bytes may tell."""
        if not data or (len(data) < LEAST_GUESSED_BYTES and not is_last):
            return None
        coding = guess_coding(data[:MOST_GUESSED_BYTES])
        if coding is None and (is_last or len(data) >= MOST_GUESSED_BYTES):
            raise InputError(
                f"{self.name}: sends no events (it begins with {bytes(data[:8])!r}), {_EXPECTED}; "
                "if they are, send a header first: printf '%% evt 3.0\\n%% end\\n'"
            )
        return coding

    def _has_time(self) -> bool:
        """Whether the first time is known, or can be found out from the words that wait."""
        if self._registers[evt.HAS_TIME]:
            return True
        words = [piece.words for piece in self._waiting]
        return (
            sum(map(len, words)) >= _MOST_FIRST_WORDS
            or sum(map(self._num_times, words)) >= _FIRST_TIMES
        )

    def _num_times(self, words: np.ndarray) -> int:
        kinds = heads(words) >> self._coding.encoding.time_bits
        return np.count_nonzero(kinds == evt.TIME_HIGH_WORD)

    def _refuse_garbage(self, pieces: list[Piece], num_events: int) -> None:
        words = [piece.words for piece in pieces]
        is_quiet = not num_events and not any(map(self._num_times, words))
        self._num_quiet = self._num_quiet + sum(map(len, words)) if is_quiet else 0
        if self._num_quiet > _MOST_QUIET_WORDS:
            raise InputError(
                f"{self.name}: {self._num_quiet:,} words without a time or an event, {_EXPECTED}; "
                "look at the sender"
            )


class RawStream:
    """Checked events from RAW bytes.

    Args:
        name: of the source, for messages.
        sensor_px: width and height of the sensor, for bytes whose header does not state them.
            Default: None, see ``likely_px``.
        likely_px: size that is assumed if nothing states one and the first events fit. Default:
            the size of the camera that introduced the encoding.

    Attributes:
        intake: checks the events; None until the size of the sensor is known.
    """

    def __init__(
        self,
        name: str,
        sensor_px: tuple[int, int] | None = None,
        likely_px: tuple[int, int] | None = None,
    ) -> None:
        self.intake: Intake | None = None
        self._decoder = RawDecoder(name, sensor_px or likely_px)
        self._sensor_px = sensor_px
        self._likely_px = likely_px
        self._num_cut = 0  # bytes of a word that did not end

    @property
    def size_is_assumed(self) -> bool:
        """Whether neither the header nor the user states the size of the sensor."""
        return self._decoder.size_is_assumed and self._sensor_px is None

    @property
    def dropped(self) -> dict[str, int]:
        """Number of dropped events, and of faults in the bytes, by reason."""
        cut = {"bytes_after_last_word": self._num_cut} if self._num_cut else {}
        return self._decoder.dropped | (self.intake.dropped if self.intake else {}) | cut

    @property
    def reached_us(self) -> int | None:
        """See :class:`etram_mmdet.deploy.sources.base.Source`."""
        return self.intake.reached_us(self._decoder.now_us) if self.intake else None

    def __call__(self, data: bytes) -> Events:
        """Events of the next bytes, in the order of time.

        Args:
            data: the bytes.

        Raises:
            InputError: they hold no events, or those of another sensor.
        """
        return self._checked(self._decoder(data))

    def check(self) -> None:
        """Raise ``InputError`` if what came before was garbage.

        See :meth:`Intake.check` and :meth:`GarbageFilter.check`.
        """
        self._decoder.check()
        if self.intake is not None:
            self.intake.check()

    def finish(self) -> Events:
        """The last events, when no byte follows.

        Raises:
            InputError: the bytes held no events.
        """
        if self.intake is None and self._decoder.is_empty:
            return NO_EVENTS
        events = self._checked(self._decoder(b"", is_last=True))
        self._num_cut = len(self._decoder.rest)
        return joined(events, self.intake.finish()) if self.intake else events

    def _checked(self, events: Events) -> Events:
        if self.intake is None:
            self._find_size(events)
        return self.intake(events) if self.intake else events

    def _find_size(self, events: Events) -> None:
        """Decide on the sensor's size as soon as the header states it, or the first events come."""
        found = self._decoder.sensor_px
        if found is None or (self.size_is_assumed and not len(events.t)):
            return
        name = self._decoder.name
        if self._sensor_px is not None:
            if not self._decoder.size_is_assumed and self._sensor_px != found:
                raise InputError(
                    f"{name}: its header says a sensor of {found[0]}x{found[1]}, not "
                    f"{self._sensor_px[0]}x{self._sensor_px[1]}; leave the size out"
                )
            found = self._sensor_px
        elif self._decoder.size_is_assumed and _fits_sensor(events, self._likely_px):
            found = self._likely_px
        self.intake = Intake(name, *found)


def _fits_sensor(events: Events, size_px: tuple[int, int] | None) -> bool:
    """Whether events lie on a sensor of this size, but for damaged ones."""
    if size_px is None:
        return False
    num_outside = np.count_nonzero((events.x >= size_px[0]) | (events.y >= size_px[1]))
    return num_outside <= MAX_DAMAGED * len(events.t)
