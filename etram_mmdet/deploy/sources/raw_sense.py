"""Which RAW words can be words of events, by themselves and by the time before them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from etram_mmdet.events.time_stamps import FAR_US, MAX_BEFORE_US

FINE, ODD_TIME, IMPOSSIBLE = range(3)
# Entries of the state: upper half of the last time that followed on the one before, of the last
# time at all, and how many of these followed on each other; last word.
NUM_STATES = 4
NO_STATE = (-1, -1, 0, 0)
_LAST, _BEFORE, _IN_A_ROW, _WORD = range(NUM_STATES)
_NEW_CLOCK = 2  # times that follow on each other, but not on the last one
_TIME_HIGH, _CONTINUED, _VECTOR = range(3, 6)  # in the table, beside FINE and IMPOSSIBLE


@cache
def table_evt3(width: int, height: int) -> np.ndarray:
    """What each word of EVT 3.0 is: fine, impossible, or of a kind that needs the words before it.

    Args:
        width: columns of the sensor, in pixels.
        height: rows of the sensor, in pixels.
    """
    words = np.arange(1 << 16)
    kinds = words >> 12
    table = np.full(len(words), IMPOSSIBLE, np.uint8)
    table[np.isin(kinds, (6, 0xA, 0xE))] = FINE
    table[(kinds == 0) & (words & 0x7FF < height)] = FINE
    table[((kinds == 2) | (kinds == 3)) & (words & 0x7FF < width)] = FINE
    table[(kinds == 4) | (kinds == 5)] = _VECTOR
    table[kinds == 8] = _TIME_HIGH
    table[(kinds == 7) | (kinds == 0xF)] = _CONTINUED
    return table


def judge(
    words: np.ndarray,
    sensor_px: tuple[int, int],
    time_bits: int,
    time_place: int,
    state: np.ndarray,
) -> np.ndarray:
    """For each word `FINE`, `ODD_TIME` or `IMPOSSIBLE`.

    Args:
        words: uint16 (N,) of EVT 3.0; or uint32 (N,) of EVT 2.0, or the upper halves of EVT 2.1.
        sensor_px: width and height beyond which no pixel can lie.
        time_bits: bits of the time's upper half.
        time_place: position of the upper half's lowest bit in a time.
        state: what is known from the words before (`NUM_STATES`,) int64, changed in place; at the
            start `NO_STATE`.
    """
    found = np.zeros(len(words), np.uint8)
    limits = _limits(time_bits, time_place)
    if words.itemsize == 2:
        _judge_evt3(words, table_evt3(*sensor_px), *limits, state, found)
    else:
        _judge_evt2(words, *sensor_px, *limits, state, found)
    return found


def _limits(time_bits: int, time_place: int) -> tuple[int, int, int]:
    """How far a time may lie ahead of the last one and behind it, and the mask of its bits."""
    return FAR_US >> time_place, (MAX_BEFORE_US >> time_place) + 1, (1 << time_bits) - 1


@njit(cache=True, nogil=True)
def _judge_evt3(words, table, most_ahead, most_back, mask, state, found):
    for i in range(len(words)):
        word = np.int64(words[i])
        what = table[word]
        if what == 0:
            continue
        if what == _VECTOR:
            before = (np.int64(words[i - 1]) if i else state[_WORD]) >> 12
            if not (3 <= before <= 6 or before == 8):  # its start, another part, or a time
                found[i] = 2
        elif what == _TIME_HIGH:
            found[i] = _judge_time(word & mask, most_ahead, most_back, mask, state)
        elif what == _CONTINUED:
            before = (np.int64(words[i - 1]) if i else state[_WORD]) >> 12
            if not (before == 0xA or before == 0xE or before == 7 or before == 0xF):
                found[i] = 2
        else:
            found[i] = 2
    if len(words):
        state[_WORD] = words[-1]


@njit(cache=True, nogil=True)
def _judge_evt2(words, width, height, most_ahead, most_back, mask, state, found):
    for i in range(len(words)):
        word = np.int64(words[i])
        kind = word >> 28
        if kind <= 1:
            if (word >> 11) & 0x7FF >= width or word & 0x7FF >= height:
                found[i] = 2
        elif kind == 8:
            found[i] = _judge_time(word & mask, most_ahead, most_back, mask, state)
        elif not (kind == 0xA or kind == 0xE or kind == 0xF):
            found[i] = 2


@njit(cache=True, nogil=True)
def _judge_time(high, most_ahead, most_back, mask, state):
    last = state[_LAST]
    follows = last < 0 or _follows(high, last, most_ahead, most_back, mask)
    if not follows:
        state[_IN_A_ROW] += 1
        if (high - state[_BEFORE]) & mask > most_ahead:
            state[_IN_A_ROW] = 0
    state[_BEFORE] = high
    if follows or state[_IN_A_ROW] >= _NEW_CLOCK:
        state[_LAST] = high
        state[_IN_A_ROW] = 0
    return 0 if follows else 1


@njit(cache=True, nogil=True)
def _follows(high, last, most_ahead, most_back, mask):
    return (high - last) & mask <= most_ahead or (last - high) & mask <= most_back


@njit(cache=True, nogil=True)
def find_garbage(found, most_apart, least):
    """Where the first garbage begins: several impossible words with few others between them.

    Args:
        found: from :func:`judge`.
        most_apart: words from one odd word to the next, and from one impossible word to the next.
        least: number of impossible words.

    Returns:
        Index of its first odd word, and whether it is garbage. If the last words may be the start
        of garbage: their index and False. Else the number of words and False.
    """
    start, last, impossible, count = 0, -1, -1, 0
    for i in range(len(found)):
        if found[i]:
            if last < 0 or i - last > most_apart or (count and i - impossible > most_apart):
                start, count = i, 0
            last = i
            if found[i] == 2:
                impossible = i
                count += 1
            if count >= least:
                return start, True
    if count and len(found) - impossible <= most_apart:
        return start, False
    return len(found), False


def find_events(
    words: np.ndarray,
    sensor_px: tuple[int, int],
    time_bits: int,
    time_place: int,
    state: np.ndarray,
    near: int,
    far: int,
    is_last: bool,
) -> tuple[int, bool, bool]:
    """Where events begin again: with a time behind which many words can be words of events.

    Args:
        words: as for :func:`judge`.
        sensor_px: as for :func:`judge`.
        time_bits: as for :func:`judge`.
        time_place: as for :func:`judge`.
        state: that before the garbage; not changed.
        near: number of words without an impossible one behind a time that follows on the last one.
        far: the same behind another time.
        is_last: whether no word follows; then fewer words are enough behind a time that follows.

    Returns:
        Index of the word with the time; the number of words if there is none. Whether it is sure;
        False if more words have to come. Whether its time follows on the last one.
    """
    found = judge(words, sensor_px, time_bits, time_place, state.copy())
    last = int(state[_LAST])
    limits = _limits(time_bits, time_place)
    return _find_events(words, found, time_bits, last, *limits, near, far, is_last)


@njit(cache=True, nogil=True)
def _find_events(words, found, time_bits, last, most_ahead, most_back, mask, near, far, is_last):
    start, needs = -1, 0
    for i in range(len(words)):
        word = np.int64(words[i])
        if found[i] == 2:
            start = -1
        elif word >> time_bits == 8:
            is_near = last >= 0 and _follows(word & mask, last, most_ahead, most_back, mask)
            least = near if is_near else far
            if start < 0 or i + least < start + needs:
                start, needs = i, least
        if start >= 0 and i - start >= needs:
            return start, True, needs == near
    if start < 0 or (is_last and needs == far):
        return len(words), False, False
    return start, is_last, needs == near
