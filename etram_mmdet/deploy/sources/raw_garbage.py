"""Leave out bytes between RAW words that are no events, such as a line of a log in a pipe."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from etram_mmdet.deploy.sources.raw_guess import Coding
from etram_mmdet.deploy.sources.raw_sense import (
    IMPOSSIBLE,
    NO_STATE,
    find_events,
    find_garbage,
    judge,
)
from etram_mmdet.events.formats.raw import heads
from etram_mmdet.events.formats.sensors import GEN4_PX
from etram_mmdet.utils.errors import InputError

# Words of garbage that may pass for words of events one after the other: about half of random
# words in EVT 3.0 do.
_MOST_APART = 16
_LEAST_IMPOSSIBLE = 3  # fewer of them near each other are damage, not garbage
# Words in a row that have to make sense where events begin again: behind a time that follows on the
# last one, and behind any other time.
_SURE_NEAR = 16
_SURE_FAR = 256
_MOST_BYTES = 1 << 16  # of garbage in a row
_JUDGED_BYTES = 1 << 20
_MOST_SHARE = 0.5
_ROW, _TIME_LOW = 0, 6  # kinds of words in EVT 3.0


class Piece(NamedTuple):
    """Words one after the other.

    Attributes:
        words: as :meth:`etram_mmdet.events.formats.raw.Encoding.split` returns them.
        num_unsure: number of words at the start whose events have no known row or time, since the
            words that told them were lost in garbage.
        follows_garbage: whether garbage came directly before them.
    """

    words: np.ndarray
    num_unsure: int = 0
    follows_garbage: bool = False

    def with_more(self, words: np.ndarray) -> Piece:
        """This piece and the words that follow it.

        Args:
            words: as those of this piece.
        """
        return self._replace(words=np.concatenate([self.words, words]))


class GarbageFilter:
    """Finds the words of events in RAW bytes, and leaves out garbage between them.

    Most words tell whether they can be. Garbage begins with the first of several words near each
    other that cannot. Events begin again with a time behind which all words can be, wherever it
    lies: garbage need not be a whole number of words long. What passes for events by chance is not
    found.

    Args:
        name: of the source, for messages.
        coding: how events are written.
        sensor_px: width and height of the sensor, where they are known. Pixels beyond them are
            impossible if they lie beyond 1280x720, too. Default: not known.

    Attributes:
        num_bytes: number of bytes that were left out.
    """

    def __init__(self, name: str, coding: Coding, sensor_px: tuple[int, int] = GEN4_PX) -> None:
        self.num_bytes = 0
        self._name = name
        self._coding = coding
        encoding = coding.encoding
        self._word_bytes = encoding.word.itemsize
        largest_px = tuple(map(max, GEN4_PX, sensor_px))
        self._rules = largest_px, encoding.time_bits, encoding.time_place
        self._state = np.array(NO_STATE, np.int64)
        self._is_lost = False
        self._follows = False  # garbage came last
        self._in_a_row = 0  # bytes of garbage
        self._unknown: set[int] = set()  # kinds of words that have to come before events are kept
        self._num_seen = 0
        self._judged = (0, 0)  # bytes, and those left out, up to the last judgement
        self._refusal = ""

    def check(self) -> None:
        """Refuse a source that sends too much garbage.

        Raises:
            InputError: more than 64 kB in a row, or more than half of a megabyte, were no events.
        """
        if self._refusal:
            raise InputError(f"{self._name}: {self._refusal}")

    def __call__(self, data: bytearray, is_last: bool) -> tuple[list[Piece], bytes]:
        """Words of events, and the bytes that cannot be judged before more have come.

        Args:
            data: bytes that were not judged yet.
            is_last: whether no byte follows.
        """
        pieces = []
        start = 0
        while not self._refusal:
            if self._is_lost:
                start = self._search(data, start, is_last)
                if self._is_lost:
                    break
            words = self._words(data, start)
            stop = self._up_to_garbage(words, is_last)
            if stop:
                piece = Piece(words[:stop], self._num_unsure(words[:stop]), self._follows)
                pieces.append(piece)
                self._follows = False
                start += stop * self._word_bytes
                self._num_seen += stop * self._word_bytes
            if not self._is_lost:
                break
        return pieces, bytes(data[start:])

    def _words(self, data: bytearray, start: int) -> np.ndarray:
        encoding, is_legacy = self._coding
        num_words = (len(data) - start) // self._word_bytes
        return encoding.split(np.frombuffer(data, encoding.word, num_words, start), is_legacy)

    def _up_to_garbage(self, words: np.ndarray, is_last: bool) -> int:
        """Number of words before garbage, or before words that may be the start of it."""
        words = heads(words)
        before = self._state.copy()
        found = judge(words, *self._rules, self._state)
        if not len(found) or found.max() < IMPOSSIBLE:
            return len(found)
        stop, self._is_lost = find_garbage(found, _MOST_APART, _LEAST_IMPOSSIBLE)
        if stop < len(words) and is_last and not self._is_lost:
            stop = len(words)
        if stop < len(words):
            self._state = before
            judge(words[:stop], *self._rules, self._state)
        if self._is_lost:
            self._in_a_row = 0
        return stop

    def _search(self, data: bytearray, start: int, is_last: bool) -> int:
        """Where events begin again, or from where on bytes cannot be judged yet; in bytes."""
        best = len(data) if is_last else max(len(data) - self._word_bytes + 1, start)
        is_sure = is_near = False
        for offset in range(self._word_bytes):
            words = heads(self._words(data, min(start + offset, len(data))))
            how = self._state, _SURE_NEAR, _SURE_FAR, is_last
            index, *what = find_events(words, *self._rules, *how)
            place = start + offset + index * self._word_bytes
            if index < len(words) and place < best:
                best = place
                is_sure, is_near = what
        self._leave_out(best - start)
        if is_sure and not self._refusal:
            self._is_lost = False
            self._follows = True
            self._unknown = {_ROW, _TIME_LOW} if self._word_bytes == 2 else set()
            if not is_near:
                self._state[:] = NO_STATE
        return best

    def _leave_out(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        self._in_a_row += num_bytes
        if self._in_a_row > _MOST_BYTES:
            self._refusal = f"{self._in_a_row:,} bytes in a row cannot be used; look at the sender"
        num_all = self._num_seen + self.num_bytes
        latest = num_all - self._judged[0]
        if latest < _JUDGED_BYTES:
            return
        share = (self.num_bytes - self._judged[1]) / latest
        self._judged = num_all, self.num_bytes
        if share > _MOST_SHARE:
            self._refusal = (
                f"{share:.0%} of the last {latest:,} bytes cannot be used; what it sends is "
                "damaged, or no events; look at the sender"
            )

    def _num_unsure(self, words: np.ndarray) -> int:
        """Number of words before the first with a known row and time, in EVT 3.0."""
        if not self._unknown:
            return 0
        kinds = words >> 12
        first = {kind: np.flatnonzero(kinds == kind)[:1] for kind in self._unknown}
        self._unknown = {kind for kind, index in first.items() if not len(index)}
        return len(words) if self._unknown else int(max(index[0] for index in first.values()))
