"""Rules for which time stamps of a recording are usable.

Stamps that step back a little are normal; they are raised to the largest stamp before them, as in
RVT's preprocessing. A damaged stamp needs another rule: if it lies hours ahead, raising would move
every event after it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Cameras step back by 34 to 82 us in one event of ten thousand; recordings that RVT reads step back
# by 3 ms. An event before its place is raised alone. An event after its place raises all that
# follow, so it may be off by less.
MAX_BEFORE_US = 5_000
MAX_AFTER_US = 1_000
# A few stamps so far before or after all others are damaged, although no other stamp contradicts
# them.
FAR_US = 1_000_000
FEW = 10
FEW_SHARE = 0.01


@njit(cache=True, nogil=True)
def find_steps(stamps_us, last_us):
    """Find out whether stamps jump by more than ``MAX_AFTER_US``, back or forward.

    Args:
        stamps_us: stamps in file order, (N,) int64 microseconds.
        last_us: the stamp before them.

    Returns:
        Whether a stamp lies that far before an earlier one, and whether one lies that far after all
        before it.
    """
    steps_back = False
    steps_forward = False
    for i in range(len(stamps_us)):
        # Two branches that a processor predicts well; without them this takes thirty times as long.
        if stamps_us[i] < last_us:
            if stamps_us[i] < last_us - MAX_AFTER_US:
                steps_back = True
        else:
            if stamps_us[i] - last_us > MAX_AFTER_US:
                steps_forward = True
            last_us = stamps_us[i]
    return steps_back, steps_forward


@njit(cache=True, nogil=True)
def raise_to_running_maximum(stamps_us, last_us):
    """Raise stamps that step back to the largest stamp before them, in place.

    Args:
        stamps_us: stamps in file order, (N,) int64 microseconds; non-decreasing afterwards.
        last_us: lowest value that a stamp may have.

    Returns:
        The number of raised stamps.
    """
    corrected = 0
    for i in range(len(stamps_us)):
        if stamps_us[i] < last_us:
            stamps_us[i] = last_us
            corrected += 1
        else:
            last_us = stamps_us[i]
    return corrected


@njit(cache=True, nogil=True)
def find_contradicted(stamps_us, last_us):
    """Find damaged stamps, which the other stamps contradict: a mask (N,).

    The reference is the longest selection of stamps, none before ``last_us``, that never falls
    (patience sorting; Fredman, 1975). A stamp is damaged if it lies more than ``MAX_BEFORE_US``
    before the last selected stamp, or more than ``MAX_AFTER_US`` after the next one. So one stamp
    never outweighs many.

    Args:
        stamps_us: stamps in file order, (N,) int64 microseconds.
        last_us: a usable stamp before them.
    """
    num = len(stamps_us)
    # Index at which the best selection of each length ends. Of several, the best has the smallest
    # last stamp.
    ends = np.empty(num, np.int64)
    before = np.empty(num, np.int64)
    longest = 0
    for i in range(num):
        if stamps_us[i] < last_us:
            continue
        low = longest if longest and stamps_us[ends[longest - 1]] <= stamps_us[i] else 0
        high = longest
        while low < high:
            middle = (low + high) // 2
            if stamps_us[ends[middle]] <= stamps_us[i]:
                low = middle + 1
            else:
                high = middle
        before[i] = ends[low - 1] if low else -1
        ends[low] = i
        longest = max(longest, low + 1)
    on_clock = np.zeros(num, np.bool_)
    i = ends[longest - 1] if longest else -1
    while i >= 0:
        on_clock[i] = True
        i = before[i]
    return _find_far_from(on_clock, stamps_us, last_us)


@njit(cache=True, nogil=True)
def _find_far_from(on_clock, stamps_us, last_us):
    is_far = np.zeros(len(stamps_us), np.bool_)
    for i in range(len(stamps_us)):
        if on_clock[i]:
            last_us = max(last_us, stamps_us[i])
        is_far[i] = stamps_us[i] < last_us - MAX_BEFORE_US
    next_us = np.iinfo(np.int64).max
    for i in range(len(stamps_us) - 1, -1, -1):
        if on_clock[i]:
            next_us = stamps_us[i]
        elif not is_far[i]:
            is_far[i] = stamps_us[i] - MAX_AFTER_US > next_us
    return is_far


def find_few_far_away(
    stamps_us: np.ndarray, last_us: int, num_before: int, *, reaches_end: bool
) -> np.ndarray:
    """Mask (N,) of the first or last few stamps of a recording if they lie far from all others.

    At most ``FEW`` stamps, and at most ``FEW_SHARE`` of all, are found. They lie more than
    ``FAR_US`` from the rest.

    Args:
        stamps_us: stamps in file order that nothing contradicts, (N,) int64 microseconds.
        last_us: the stamp before them.
        num_before: number of stamps that the recording has before them.
        reaches_end: whether the recording ends with them.
    """
    num = len(stamps_us)
    is_few = np.zeros(num, bool)
    if num == 0:
        return is_few
    previous = np.concatenate([[last_us if num_before else stamps_us[0]], stamps_us[:-1]])
    for start in np.flatnonzero(stamps_us - FAR_US > previous).tolist():
        if num_before == 0 and start <= min(FEW, FEW_SHARE * (num - start)):
            is_few[:start] = True
        if reaches_end and num - start <= min(FEW, FEW_SHARE * (num_before + start)):
            is_few[start:] = True
    return is_few
