"""Decoders of Prophesee's event words: EVT 2.0, 2.1 and 3.0.

Source: the format descriptions of the Metavision documentation.

A file can be decoded in pieces. A decoder takes words and ``registers``, the state after the words
before them (int64, zeros at the start of a file), and updates this state. `expect_time` must be
called before the first piece. Events before the first complete time are left out and counted in
``registers``.

The upper half of the time starts again from zero. A fall by more than `wrap_distance` counts as
such a turn. A rise by as much takes a turn back, so that one damaged word far ahead does not count
as a turn when the next word is right again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from etram_mmdet.events.time_stamps import MAX_AFTER_US

NUM_REGISTERS = 9
TIME_HIGH_WORD = 0x8  # the kind of word, in both formats
# Entries of the registers that both formats share.
HAS_TIME, LOOPS, TIME_HIGH, EVENTS_WITHOUT_TIME = range(4)
# EVT 3.0 only.
_TIME_LOW, _Y, _BASE_X, _BASE_P, TIME_HIGH_GAPS = range(4, 9)


def wrap_distance(num_bits: int) -> int:
    """Smallest fall of a counter that means that it started again from zero.

    It is a little more than half the counter's range, and no sum of two powers of two, so that one
    or two damaged bits never lie at the limit.

    Args:
        num_bits: number of bits of the counter.
    """
    return 75 << num_bits - 7


@njit(cache=True, nogil=True)
def expect_time(words, registers, num_bits):
    """Set the registers to a start near the first upper halves of the time.

    The median of the first three is taken, since one of them may be damaged.

    Args:
        words: event words (N,) of the first piece.
        registers: state of the decoder, changed in place.
        num_bits: number of bits of the time's upper half, below the four bits of the word's type.
    """
    first = np.zeros(3, np.int64)
    n = 0
    for word in words:
        if word >> num_bits == 0x8:
            first[n] = word & ((1 << num_bits) - 1)
            n += 1
            if n == len(first):
                break
    registers[2] = sorted(first[:n])[n // 2] if n else 0


# Bits set in every 12-bit mask.
_BITS = np.array([mask.bit_count() for mask in range(1 << 12)], np.uint8)
_WRAP_EVT2 = wrap_distance(28)
_WRAP_EVT3 = wrap_distance(12)


@njit(cache=True, nogil=True)
def count_evt2(words):
    """Upper bound of the number of events in EVT 2.0 words.

    Args:
        words: uint32 (N,).
    """
    count = 0
    for word in words:
        count += word >> 28 <= 1
    return count


@njit(cache=True, nogil=True)
def decode_evt2(words, registers, t, x, y, p):
    """Decode EVT 2.0 words into columns.

    A word holds its type (4 bits), the low 6 bits of the time, and x and y (11 bits each). A
    TIME_HIGH word holds the upper 28 bits of the time, which start again from zero after 4.8 hours.

    Args:
        words: uint32 (N,).
        registers: state of the decoder (`NUM_REGISTERS`,) int64, changed in place; zeros at the
            start of a recording.
        t: times in microseconds, written from the start of the array. Like x, y and p it needs the
            length that :func:`count_evt2` gives.
        x: columns of the sensor, written like ``t``.
        y: rows of the sensor, written like ``t``.
        p: polarities, written like ``t``.

    Returns:
        The number of events.
    """
    has_time = registers[0]
    loops = registers[1]
    high = registers[2]
    without_time = registers[3]
    base_us = ((loops << 28) | high) << 6
    n = 0
    for word in words:
        kind = word >> 28
        if kind <= 1:
            if has_time:
                t[n] = base_us | np.int64((word >> 22) & 0x3F)
                x[n] = (word >> 11) & 0x7FF
                y[n] = word & 0x7FF
                p[n] = kind
                n += 1
            else:
                without_time += 1
        elif kind == 0x8:
            new = np.int64(word & 0xFFFFFFF)
            loops += (high - new > _WRAP_EVT2) - (new - high > _WRAP_EVT2)
            high = new
            has_time = 1
            base_us = ((loops << 28) | high) << 6
    registers[0] = has_time
    registers[1] = loops
    registers[2] = high
    registers[3] = without_time
    return n


def count_evt21(words):
    """Number of events in EVT 2.1 words.

    Args:
        words: uint32 pairs (N, 2), see :func:`decode_evt21`.
    """
    return _num_pixels(_masks(words))


def decode_evt21(words, registers, t, x, y, p):
    """Decode EVT 2.1 words into columns.

    A word has 64 bits: its upper half is a word of EVT 2.0, and its lower half is a mask of the
    pixels x to x + 31 that have an event.

    Args:
        words: uint32 (N, 2), the upper and the lower half of each word.
        registers: state of the decoder (`NUM_REGISTERS`,) int64, changed in place; zeros at the
            start of a recording.
        t: times in microseconds, written from the start of the array. Like x, y and p it needs the
            length that :func:`count_evt21` gives.
        x: columns of the sensor, written like ``t``.
        y: rows of the sensor, written like ``t``.
        p: polarities, written like ``t``.

    Returns:
        The number of events.
    """
    masks = _masks(words)
    first = [np.empty(len(masks), column.dtype) for column in (t, x, y, p)]
    before = registers[EVENTS_WITHOUT_TIME]
    count = decode_evt2(np.ascontiguousarray(words[:, 0]), registers, *first)
    skipped = len(masks) - count  # events before the first complete time
    registers[EVENTS_WITHOUT_TIME] = before + _num_pixels(masks[:skipped])
    return _spread(masks[skipped:], *first, t, x, y, p)


def _masks(words):
    """Lower halves of the words that hold events."""
    return words[words[:, 0] >> 28 <= 1, 1]


def _num_pixels(masks):
    return sum(int(_BITS[masks >> shift & 0xFFF].sum()) for shift in (0, 12, 24))


@njit(cache=True, nogil=True)
def _spread(masks, first_t, first_x, first_y, first_p, t, x, y, p):
    n = 0
    for i in range(len(masks)):
        mask = np.int64(masks[i])
        column = first_x[i]
        while mask:
            if mask & 1:
                t[n] = first_t[i]
                x[n] = column
                y[n] = first_y[i]
                p[n] = first_p[i]
                n += 1
            mask >>= 1
            column += 1
    return n


# Events of every EVT 3.0 word.
_EVENTS_EVT3 = np.zeros(1 << 16, np.uint8)
_EVENTS_EVT3[0x2000:0x3000] = 1
_EVENTS_EVT3[0x4000:0x5000] = _BITS
_EVENTS_EVT3[0x5000:0x6000] = np.tile(_BITS[:256], 16)


@njit(cache=True, nogil=True)
def count_evt3(words):
    """Length of the arrays that :func:`decode_evt3` needs: the number of events, and one more.

    Args:
        words: uint16 (N,).
    """
    count = 1
    for word in words:
        count += _EVENTS_EVT3[word]
    return count


@njit(cache=True, nogil=True)
def decode_evt3(words, registers, t, x, y, p):
    """Decode EVT 3.0 words into columns.

    A word changes one register: the row, the first column and polarity of a vector, or one of the
    time's two halves of 12 bits. The upper half starts again from zero after 16.8 s.

    Gaps of the time are counted in ``registers``. One kind is a fall of the lower half, larger than
    the steps back that cameras make, without an upper half in between: the word of the upper half
    was lost, so it is increased by one. The other kind is an upper half that grows by more than
    one: cameras send each of them, so events before it may come out some steps of 4,096 us too
    early.

    Args:
        words: uint16 (N,).
        registers: state of the decoder (`NUM_REGISTERS`,) int64, changed in place; zeros at the
            start of a recording.
        t: times in microseconds, written from the start of the array. Like x, y and p it needs the
            length that :func:`count_evt3` gives; values after the last event may be written too.
        x: columns of the sensor, written like ``t``.
        y: rows of the sensor, written like ``t``.
        p: polarities, written like ``t``.

    Returns:
        The number of events.
    """
    has_time = registers[0]
    loops = registers[1]
    high = registers[2]
    without_time = registers[3]
    low = registers[4]
    row = registers[5]
    base_x = registers[6]
    base_p = registers[7]
    gaps = registers[8]
    now_us = (((loops << 12) | high) << 12) | low
    n = 0
    for word in words:
        kind = word >> 12
        if kind == 0x0 or kind == 0x2:
            # No processor could predict which of the two it is. Of a row, nothing is kept.
            is_event = np.int64(kind >> 1)
            is_kept = is_event & has_time
            t[n] = now_us
            x[n] = word & 0x7FF
            y[n] = row
            p[n] = (word >> 11) & 1
            n += is_kept
            without_time += is_event - is_kept
            row += (np.int64(word & 0x7FF) - row) * (1 - is_event)
        elif kind == 0x4 or kind == 0x5:
            mask = np.int64(word & (0xFFF if kind == 0x4 else 0xFF))
            if has_time:
                column = base_x
                while mask:
                    t[n] = now_us
                    x[n] = column
                    y[n] = row
                    p[n] = base_p
                    n += mask & 1
                    mask >>= 1
                    column += 1
            else:
                without_time += _BITS[mask]
            base_x += 12 if kind == 0x4 else 8
        elif kind == 0x3:
            base_x = np.int64(word & 0x7FF)
            base_p = np.int64((word >> 11) & 1)
        elif kind == 0x6:
            new = np.int64(word & 0xFFF)
            if has_time and low - new > MAX_AFTER_US:
                high += 1
                gaps += 1
            low = new
            now_us = (((loops << 12) + high) << 12) | low
        elif kind == 0x8:
            new = np.int64(word & 0xFFF)
            loops += (high - new > _WRAP_EVT3) - (new - high > _WRAP_EVT3)
            gaps += has_time and 1 < ((new - high) & 0xFFF) < 1 << 11
            if new != high & 0xFFF:
                low = 0  # the word of the lower half follows
            high = new
            has_time = 1
            now_us = (((loops << 12) | high) << 12) | low
    registers[0] = has_time
    registers[1] = loops
    registers[2] = high
    registers[3] = without_time
    registers[4] = low
    registers[5] = row
    registers[6] = base_x
    registers[7] = base_p
    registers[8] = gaps
    return n
