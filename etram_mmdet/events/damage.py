"""When a recording counts as damaged, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

# Largest share of a recording's events that may be damaged. Up to ten are always accepted.
MAX_DAMAGED = 0.01
_FEW = 10


def told_of_damage(lost: Mapping[str, int], num_events: int, size_px: tuple[int, int]) -> str:
    """What is wrong with a recording, and the likely remedy; empty if it is sound.

    Args:
        lost: number of events that were dropped or whose stamp was raised, by reason;
            ``events_out_of_frame`` are those outside the sensor.
        num_events: number of events that were read.
        size_px: width and height of the sensor.
    """
    lost = {reason: count for reason, count in lost.items() if count}
    num_lost = sum(lost.values())
    if num_lost <= max(MAX_DAMAGED * num_events, _FEW):
        return ""
    listed = ", ".join(f"{reason} {count}" for reason, count in lost.items())
    if 2 * lost.get("events_out_of_frame", 0) > num_lost:
        advice = (
            f"if its sensor does not have {size_px[0]}x{size_px[1]} pixels, give the size with "
            "--sensor WIDTH HEIGHT"
        )
    else:
        advice = (
            "likely cause: its events are not in time order; use --sort-events of "
            "tools/preprocess.py, or reading=dict(sort_events=True) of a RawEventDataset"
        )
    return (
        f"{num_lost / num_events:.1%} of {num_events} events were dropped or corrected, expected "
        f"at most {MAX_DAMAGED:.0%} ({listed}); {advice}"
    )
