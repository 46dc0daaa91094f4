"""Limits beyond which a recording and its labels are reported as a problem."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """Limit of a check.

    Attributes:
        value: a recording beyond it is reported as a problem.
        reason: why the limit has this value.
    """

    value: float
    reason: str


# A recording beyond these limits is a problem. docs/data.md shows this table; a test compares.
LIMITS = {
    "most_labels_per_s": Limit(
        500, "no camera or tracker labels faster; times in ms that are read as us exceed it"
    ),
    "least_labels_per_s": Limit(
        0.2,
        "labels of a video come faster; times in ns that are read as us give fewer labels and rare "
        "events",
    ),
    "least_events_per_pixel_s": Limit(0.05, "the noise of an event camera alone makes more"),
    "most_early_s": Limit(0.2, "labels cannot lie before the camera's start"),
    "most_late_s": Limit(1.0, "a camera sends events, at least noise, until the end"),
    "most_outside_share": Limit(0.1, "a few labels may lie just outside a recording"),
    "least_covered_share": Limit(
        0.002, "labels in another unit cover a thousandth; fewer than ten labels are not checked"
    ),
    "least_kept_share": Limit(
        0.5, "RVT's rule should keep a label in nearly every labelled tenth of a second"
    ),
    "most_outside_boxes_share": Limit(0.2, "boxes lie on the sensor, apart from some at its edge"),
    "corner_boxes_share": Limit(
        0.95, "w above x and h above y in nearly all boxes means second corners instead of sizes"
    ),
    "least_cut_corner_boxes_share": Limit(
        0.2, "corners that are read as sizes reach beyond the sensor in most of the image"
    ),
    "better_reading": Limit(
        1.25,
        "right labels of 110 streets reached 1.10, random ones 1.13; wrong ones mostly exceed 1.3",
    ),
    "least_activity": Limit(
        0.5,
        "moving objects make events; the least active right boxes had 0.9 of the image's activity",
    ),
    "least_busier_share": Limit(
        0.65,
        "moving boxes hold more events per pixel than their surroundings: 97 % and more of right "
        "ones, 28 to 72 % of those of other recordings",
    ),
    "least_busier_share_mended": Limit(
        0.75, "boxes of other recordings reach 0.69 at their best shift, right ones 0.9"
    ),
    "most_rate_ratio": Limit(
        1.2, "recordings with more frames a second count more in AP and false alarms"
    ),
}


def limit_of(name: str) -> float:
    """Value of a limit.

    Args:
        name: key of ``LIMITS``.
    """
    return LIMITS[name].value
