"""Find out the encoding of RAW bytes that come without a header."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from etram_mmdet.events.formats import evt
from etram_mmdet.events.formats.raw import ENCODINGS, Encoding, heads
from etram_mmdet.events.formats.sensors import GEN4_PX

LEAST_GUESSED_BYTES = 1 << 12
MOST_GUESSED_BYTES = 1 << 16
_LEAST_SHARE = 0.95  # of words that make sense; of random words about half do
_LEAST_TIMES = 2
_LONGEST_STEP_US = 1_000_000
# Kinds of words, besides the time, whose content may be anything.
_FREE_KINDS = {"2.0": (0xA, 0xE, 0xF), "2.1": (0xA, 0xE, 0xF), "3.0": (4, 5, 6, 7, 0xA, 0xE, 0xF)}
_SIDE_MASK = 0x7FF


class Coding(NamedTuple):
    """How events are written in bytes.

    Attributes:
        encoding: of the words.
        is_legacy: whether the upper half of 64-bit words comes first.
    """

    encoding: Encoding
    is_legacy: bool


def guess_coding(data: bytes | bytearray) -> Coding | None:
    """The encoding in which nearly all words make sense; ``None`` if there is none.

    A word makes sense if its kind exists, its pixel lies on a sensor of 1280x720, and its time
    lies less than a second after the time before it.

    Args:
        data: first bytes of a stream, beginning with a whole word.
    """
    shares = {
        (version, is_legacy): _share(data, version, is_legacy)
        for version, is_legacy in (("3.0", False), ("2.0", False), ("2.1", False), ("2.1", True))
    }
    best = max(shares, key=shares.get)
    return Coding(ENCODINGS[best[0]], best[1]) if shares[best] >= _LEAST_SHARE else None


def _share(data: bytes | bytearray, version: str, is_legacy: bool) -> float:
    """Share of the words that make sense."""
    encoding = ENCODINGS[version]
    num_words = len(data) // encoding.word.itemsize
    words = heads(encoding.split(np.frombuffer(data, encoding.word, num_words), is_legacy))
    kinds = words >> encoding.time_bits
    is_time = kinds == evt.TIME_HIGH_WORD
    if np.count_nonzero(is_time) < _LEAST_TIMES:
        return 0.0
    makes_sense = np.isin(kinds, _FREE_KINDS[version])
    makes_sense[is_time] = _are_steps(words[is_time], encoding)
    if version == "3.0":
        side = words & _SIDE_MASK
        makes_sense |= (kinds == 0) & (side < GEN4_PX[1])
        makes_sense |= ((kinds == 2) | (kinds == 3)) & (side < GEN4_PX[0])
    else:
        x = words >> 11 & _SIDE_MASK
        is_on_sensor = (x < GEN4_PX[0]) & (words & _SIDE_MASK < GEN4_PX[1])
        makes_sense |= (kinds <= 1) & is_on_sensor & ((x % 32 == 0) | (version == "2.0"))
    return np.count_nonzero(makes_sense) / num_words


def _are_steps(times: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Which upper halves of the time lie a little after the one before."""
    highest = (1 << encoding.time_bits) - 1
    highs = (times & highest).astype(np.int64)
    steps_us = (np.diff(highs, prepend=highs[0]) & highest) << encoding.time_place
    return steps_us <= _LONGEST_STEP_US
