"""Evaluation of frames under protocols, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.breakdown import Breakdown, break_down
from etram_mmdet.evaluation.breakdown_table import format_breakdown
from etram_mmdet.evaluation.coco import (
    class_agnostic,
    coco_metrics,
    format_metrics,
)
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.pairs import Overlaps
from etram_mmdet.evaluation.protocols import Protocol
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.evaluation.ties import note_on_ties
from etram_mmdet.utils.errors import InputError

ANY_CLASS = "any class"
NOTHING_LEFT = (
    "no ground-truth box is left under the headline protocol (the first one), so AP is undefined: "
    "put another protocol first in val_evaluator.protocols or test_evaluator.protocols (coco "
    "removes no box), or check class_set and the label folder"
)
_NO_BOX = "no ground-truth box is left under this protocol, so AP is undefined"


class Headline(NamedTuple):
    """Result of an evaluation under its first protocol.

    Attributes:
        protocol: the protocol.
        columns: frames that count under it.
        classes: names of the classes; a single one if the protocol ignores classes.
        breakdown: breakdown of the AP.
    """

    protocol: Protocol
    columns: FrameColumns
    classes: tuple[str, ...]
    breakdown: Breakdown

    @property
    def frames(self) -> list[FrameResult]:
        """List of the frames that count under the protocol. Each access makes a new list."""
        return self.columns.frames()


def evaluate(
    frames: Sequence[FrameResult] | FrameColumns,
    classes: Sequence[str],
    protocols: Sequence[Protocol],
    log: Callable[[str], object],
) -> tuple[dict[str, float], Headline]:
    """Metrics of frames under each protocol, and the result under the first one.

    Args:
        frames: evaluated frames, each once, sorted by (recording, t_us).
        classes: names of the classes.
        protocols: protocols, the headline first.
        log: called with the table of each protocol.

    Raises:
        InputError: no box is left under the headline protocol.
    """
    columns = FrameColumns.of(frames)
    metrics = {}
    headline = None
    for protocol in protocols:
        chosen, removed = protocol.select_columns(columns)
        head = (f"protocol {protocol}", str(removed))
        if not len(chosen.truth.labels):
            log("\n".join(("", *head, _NO_BOX)))
            if headline is None:
                raise InputError(f"{head[0]}\n{head[1]}\n{NOTHING_LEFT}")
            continue
        if not protocol.class_aware:
            chosen = class_agnostic(chosen)
        of_protocol = classes if protocol.class_aware else (ANY_CLASS,)
        found, text, breakdown = _measure(chosen, of_protocol, head, headline is None)
        log(text)
        metrics |= {f"{protocol.name}/{key}": found[key] for key in found if ANY_CLASS not in key}
        headline = headline or Headline(protocol, chosen, tuple(of_protocol), breakdown)
    return metrics, headline


def _measure(
    columns: FrameColumns, classes: Sequence[str], head: Sequence[str], in_parts: bool
) -> tuple[dict[str, float], str, Breakdown | None]:
    """Metrics of frames, their tables as text, and if wanted the breakdown of the AP."""
    overlaps = Overlaps(columns)
    pairs = overlaps.ranked()
    metrics = coco_metrics(columns, classes, pairs)
    counts = np.bincount(columns.truth.labels, minlength=len(classes))
    texts = ["\n" + format_metrics(head, metrics, counts, classes)]
    breakdown = break_down(columns, classes, pairs) if in_parts else None
    if breakdown is not None:
        metrics |= breakdown.metrics()
        texts.append(format_breakdown(breakdown))
    ties = note_on_ties(overlaps, pairs, len(classes))
    return metrics, "\n\n".join([*texts, *([ties] if ties else [])]), breakdown
