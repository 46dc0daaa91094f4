"""Doubts about the rate of labelled frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from etram_mmdet.events.preprocessing.frame_times import Frames
from etram_mmdet.events.preprocessing.plausibility.limits import limit_of


def doubts_about_frames(label_us: np.ndarray, frames: Frames) -> list[str]:
    """A sentence if the 10 Hz frame rule lost most labels, as it does if their times jitter.

    Args:
        label_us: all times that were labelled, sorted (L,), in microseconds.
        frames: the chosen frames.
    """
    if frames.rule != "rvt":
        return []
    seen = label_us[label_us >= frames.label_us[0]]
    expected = len(np.unique((seen - seen[0] + 50_000) // 100_000))
    if len(frames.label_us) >= limit_of("least_kept_share") * expected:
        return []
    return [
        f"RVT's frame rule keeps only {len(frames.label_us)} of about {expected} labels at 10 Hz; "
        "likely cause: label times jitter by more than the 2 ms that it allows; use --frames all"
    ]


def differing_rates(rates: Iterable[tuple[str, float | None]]) -> str:
    """A sentence if the frame rates of recordings differ too much; else empty.

    Args:
        rates: name and labelled frames per second of each recording; ``None`` if unknown.
    """
    known = sorted(((rate, name) for name, rate in rates if rate), key=lambda pair: pair[0])
    if not known or known[-1][0] <= limit_of("most_rate_ratio") * known[0][0]:
        return ""
    named = defaultdict(list)
    for rate, name in known:
        named[f"{rate:.2g}"].append(name)
    listed = ", ".join(
        f"{rate} Hz in {len(names)} ({names[0]}{', ...' if names[1:] else ''})"
        for rate, names in named.items()
    )
    return (
        f"recordings have labelled frames at different rates: {listed}; those with more frames "
        "count more in AP and false alarms. Use label files of one rate, or --frames all if their "
        "labels have the same rate"
    )
