"""Prophesee's RAW recordings in EVT 2.0, EVT 2.1 and EVT 3.0."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.columns import Events
from etram_mmdet.events.formats import evt
from etram_mmdet.events.formats.prophesee_header import (
    SIGNATURE,
    PercentHeader,
    read_percent_header,
)
from etram_mmdet.events.formats.sensors import GEN3_PX, GEN4_PX, GENX320_PX
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.errors import InputError


class Encoding(NamedTuple):
    """A way to write events in words.

    Attributes:
        word: NumPy's type of a word.
        count: see :func:`etram_mmdet.events.formats.evt.count_evt2`.
        decode: see :func:`etram_mmdet.events.formats.evt.decode_evt2`.
        time_bits: bits of the time's upper half, below a word's four type bits.
        time_place: position of the upper half's lowest bit in a time.
        sensor_px: width and height of the sensor of the camera generation that introduced the
            encoding, for headers that state none.
    """

    word: np.dtype
    count: Callable
    decode: Callable
    time_bits: int
    time_place: int
    sensor_px: tuple[int, int]

    def split(self, words: np.ndarray, is_legacy: bool) -> np.ndarray:
        """Words as the decoder takes them: those of 64 bits as upper and lower half, (N, 2) uint32.

        Args:
            words: (N,) of type ``word``.
            is_legacy: whether the upper half comes first, as from IMX636 cameras.
        """
        if words.itemsize < 8:
            return words
        halves = words.view("<u4").reshape(-1, 2)
        return halves if is_legacy else np.ascontiguousarray(halves[:, ::-1])

    def decoded(self, words: np.ndarray, registers: np.ndarray) -> Events:
        """Events of a piece of a file or stream, in the order of the words.

        Args:
            words: from :meth:`split`.
            registers: state of the decoder (`NUM_REGISTERS`,) int64, changed in place. Zeros at the
                start.
        """
        if not registers[evt.HAS_TIME]:
            evt.expect_time(heads(words), registers, self.time_bits)
        capacity = self.count(words)
        columns = [
            np.empty(capacity, dtype) for dtype in (np.int64, np.uint16, np.uint16, np.uint8)
        ]
        count = self.decode(words, registers, *columns)
        return Events(*(column[:count] for column in columns))


ENCODINGS = {
    "2.0": Encoding(np.dtype("<u4"), evt.count_evt2, evt.decode_evt2, 28, 6, GEN3_PX),
    "2.1": Encoding(np.dtype("<u8"), evt.count_evt21, evt.decode_evt21, 28, 6, GENX320_PX),
    "3.0": Encoding(np.dtype("<u2"), evt.count_evt3, evt.decode_evt3, 12, 12, GEN4_PX),
}
_SENSOR_OF_PLUGIN = {"genx320": GENX320_PX, "gen3": GEN3_PX, "gen4": GEN4_PX, "imx636": GEN4_PX}
# Words may hold up to 12 events (EVT 3.0), on average about one.
_WORDS_PER_BLOCK = 1 << 20


class RawRecording(Recording):
    """Recording in a Prophesee RAW file.

    The meaning of an event word depends on the words before it. Blocks are therefore decoded in
    order the first time, and later from saved registers.

    Args:
        path: the file.

    Raises:
        InputError: when the encoding is unknown or the file holds no usable event.
    """

    suffixes = (".raw",)
    signature = SIGNATURE

    def __init__(self, path: Path) -> None:
        header = read_percent_header(path)
        self._encoding = encoding_of(path, header)
        self._is_legacy = is_legacy(header)
        (width, height), self.size_is_assumed = sensor_of(header, self._encoding)
        self._num_words, self._tail_bytes = divmod(
            path.stat().st_size - header.num_bytes, self._encoding.word.itemsize
        )
        self._data_start = header.num_bytes
        self._registers = [np.zeros(evt.NUM_REGISTERS, np.int64)]  # before each block
        self._decoded = lru_cache(maxsize=2)(self._decode)
        try:
            super().__init__(
                path, width, height, num_blocks=-(-self._num_words // _WORDS_PER_BLOCK)
            )
        except BaseException:
            self.close()
            raise

    def release(self) -> None:
        super().release()
        self._decoded.cache_clear()

    @property
    def clock_start_us(self) -> int:
        """Time that Metavision's software subtracts from every stamp: the file's first TIME_HIGH.

        Metavision calls this "timestamp shifting".
        """
        bits = self._encoding.time_bits
        for block in range(self._num_blocks):
            words = heads(self._words(block))
            high = words[words >> bits == evt.TIME_HIGH_WORD]
            if len(high):
                return int(high[0] & ((1 << bits) - 1)) << self._encoding.time_place
        return super().clock_start_us

    @property
    def dropped(self) -> dict[str, int]:
        lost = {
            "events_before_first_time": int(self._registers[-1][evt.EVENTS_WITHOUT_TIME]),
            "time_high_gaps": int(self._registers[-1][evt.TIME_HIGH_GAPS]),
            "bytes_after_last_word": self._tail_bytes,
        }
        return super().dropped | {name: count for name, count in lost.items() if count}

    def _raw_stamps(self, block: int) -> np.ndarray:
        return self._decoded(block).t.copy()

    def _raw_pixels(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._decoded(block)[1:]

    def _decode(self, block: int) -> Events:
        registers = self._registers[block].copy()
        events = self._encoding.decoded(self._words(block), registers)
        if block + 1 == len(self._registers):
            self._registers.append(registers)
        return events

    def _words(self, block: int) -> np.ndarray:
        start = block * _WORDS_PER_BLOCK
        file = self._file
        file.seek(self._data_start + start * self._encoding.word.itemsize)
        count = min(_WORDS_PER_BLOCK, self._num_words - start)
        words = np.fromfile(file, self._encoding.word, count)
        if len(words) < count:
            raise InputError(
                f"{self.path}: became shorter while it was read; wait until it is complete"
            )
        return self._encoding.split(words, self._is_legacy)


def heads(words: np.ndarray) -> np.ndarray:
    """The words, or the halves of them, that hold type and time.

    Args:
        words: from :meth:`Encoding.split`.
    """
    return np.ascontiguousarray(words[:, 0]) if words.ndim == 2 else words


def encoding_of(path: str | Path, header: PercentHeader) -> Encoding:
    """The encoding that a header states.

    Args:
        path: the file or stream, for the message.
        header: its header.

    Raises:
        InputError: it states none, or one that is not known.
    """
    version = header.fields.get("evt") or header.fields.get("format", "").split(";")[
        0
    ].lower().removeprefix("evt")
    encoding = ENCODINGS.get({"2": "2.0", "21": "2.1", "3": "3.0"}.get(version, version))
    if encoding is None:
        found = f"EVT {version}" if version else "no line '% evt ...' in the header"
        raise InputError(
            f"{path}: {found}; expected EVT 2.0, 2.1 or 3.0; convert the recording to HDF5 with "
            "the camera's software"
        )
    return encoding


def is_legacy(header: PercentHeader) -> bool:
    """Whether the upper half of 64-bit words comes first, as from IMX636 cameras.

    Args:
        header: of a file or stream.
    """
    return "endianness=legacy" in header.fields.get("format", "")


def sensor_of(header: PercentHeader, encoding: Encoding) -> tuple[tuple[int, int], bool]:
    """Width and height of the sensor, and whether they are a guess.

    Args:
        header: of a file or stream.
        encoding: its encoding.
    """
    plugin = header.fields.get("plugin_name", "")
    known = header.size_px or next(
        (size for name, size in _SENSOR_OF_PLUGIN.items() if name in plugin), None
    )
    return (encoding.sensor_px, True) if known is None else (known, False)
