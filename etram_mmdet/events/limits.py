"""Largest sizes that a file may claim; larger numbers are damage.

Without limits such damage would cost memory or hours before it is noticed. Recordings and label
files of today's cameras stay far below all of these limits (docs/data.md).
"""

from __future__ import annotations

import numpy as np

MAX_SIDE_PX = 8192  # of a sensor; the largest event cameras have 1280
MAX_PIXELS = 1 << 23  # of a sensor: nine times as many as 1280x720
MAX_ROWS = 1 << 23  # of a label file or an array of times: ten hours at 30 Hz with seven boxes each
MAX_ROW_BYTES = 4096  # of a label or an event; they have 13 to 40
MAX_TEXT_BYTES = 1 << 27  # of a label file in text; it needs ten times as much memory
MAX_BOX_PX = (
    1e6  # a corner or side of a box in a label file of another program, on either side of zero
)
MAX_CHUNK_BYTES = 1 << 28  # of an HDF5 file, which unpacks its chunks one by one
MAX_FRAME_BYTES = 1 << 28  # of one preprocessed frame
MAX_EXPANSION = 200  # unpacked bytes for each one stored; events compress to a twentieth at best
SMALL_BYTES = 1 << 26  # content up to this size may expand without limit
MAX_TIME_US = 1 << 61  # limit on either side of zero; differences of times stay below 2**63
# Longest time without an event; its frames are empty, 12,000 at the usual step.
MAX_QUIET_US = 600_000_000
MAX_SPAN_US = 10 * 3600 * 1_000_000  # from the first label or event to the last label


def beyond_time(values: np.ndarray) -> np.ndarray:
    """Indices of values that cannot be a time: NaN, or further from zero than ``MAX_TIME_US``.

    Args:
        values: array (N,) of times in microseconds, of any number type.
    """
    if values.dtype.kind == "f":
        values = values.astype(np.float64)  # in float16 the limit itself would be infinite
    return np.flatnonzero(~((values >= -MAX_TIME_US) & (values <= MAX_TIME_US)))


def expands_too_much(unpacked_bytes: int, stored_bytes: int) -> bool:
    """Whether an archive claims more content than can be compressed into its size.

    Args:
        unpacked_bytes: claimed size of the content.
        stored_bytes: size of the file.
    """
    return unpacked_bytes > max(MAX_EXPANSION * stored_bytes, SMALL_BYTES)
