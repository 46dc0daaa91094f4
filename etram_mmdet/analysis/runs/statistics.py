"""Rows of an ablation's table: means over seeds, and differences to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etram_mmdet.analysis.runs.agreement import obstacles
from etram_mmdet.analysis.runs.plan import Variant

CONFIDENCE = 0.95
# The first metric is tested for significance.
METRICS = ("AP", "AP50", "AP_small_classes", "AP_S_network_px")
_NO_SPREAD = 1e-12  # smaller differences come from rounding


@dataclass(frozen=True)
class Difference:
    """Mean difference of AP to the baseline, with its confidence interval.

    Interval and p-value are NaN if neither variant varies over its seeds, because chance cannot be
    estimated then.

    Attributes:
        mean: mean difference of AP, from -1 to 1.
        low: lower end of the confidence interval.
        high: upper end of the confidence interval.
        p: p-value after Holm's correction.
    """

    mean: float
    low: float
    high: float
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant at the level of `CONFIDENCE`."""
        return self.p < 1 - CONFIDENCE


@dataclass(frozen=True)
class Row:
    """One row of an ablation's table.

    Attributes:
        variant: config with options.
        values: (n,) values over the finished seeds, by metric.
        records: run.json and metrics of each finished seed.
        obstacles: reasons why the variant may not be compared with the baseline. Default: none.
        difference: difference to the baseline. Default: ``None``, not compared.
    """

    variant: Variant
    values: dict[str, np.ndarray]
    records: list[dict]
    obstacles: tuple[str, ...] = ()
    difference: Difference | None = None


def compare(results: Sequence[tuple[Variant, list[dict]]]) -> list[Row]:
    """Compares variants with the baseline.

    Confidence intervals are Welch's, which allows unequal spreads. p-values are corrected for the
    number of variants compared, see :func:`holm`.

    Args:
        results: each variant with the :func:`finished_result` of its seeds, the baseline first.
    """
    baseline = results[0][1]
    rows = [
        Row(variant, _values(found), found, _all_obstacles(found, baseline))
        for variant, found in results
    ]
    # The seeds of the baseline may differ from each other too.
    may = [not row.obstacles and _enough(row) for row in rows]
    comparable = [i for i in range(1, len(rows)) if may[0] and may[i]]
    raw = [_welch(rows[i].values[METRICS[0]], rows[0].values[METRICS[0]]) for i in comparable]
    for i, difference, p in zip(comparable, raw, holm([d.p for d in raw]), strict=True):
        corrected = Difference(difference.mean, difference.low, difference.high, p)
        rows[i] = Row(
            rows[i].variant, rows[i].values, rows[i].records, rows[i].obstacles, corrected
        )
    return rows


def _values(found: list[dict]) -> dict[str, np.ndarray]:
    return {
        m: np.array([r["metrics"][f"coco/{m}"] for r in found if f"coco/{m}" in r["metrics"]])
        for m in METRICS
    }


def _all_obstacles(found: list[dict], baseline: list[dict]) -> tuple[str, ...]:
    if not found or not baseline:
        return ()
    return tuple(dict.fromkeys(line for record in found for line in obstacles(record, baseline[0])))


def _enough(row: Row) -> bool:
    return len(row.values[METRICS[0]]) > 1


def _welch(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    mean = float(ours.mean() - theirs.mean())
    if max(np.ptp(ours), np.ptp(theirs)) < _NO_SPREAD:
        return Difference(mean, np.nan, np.nan, np.nan)
    from scipy import stats  # slow to load

    test = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(mean, float(low), float(high), float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values by Holm's step-down rule.

    The k-th smallest of n p-values is multiplied by n - k + 1, and no result is below the one
    before. NaN stays NaN and counts as one of the n.

    Args:
        p_values: n p-values, in any order. The results have the same order.
    """
    corrected = [np.nan] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values)):  # NaN comes last
        largest = float(
            np.maximum(largest, np.minimum((len(p_values) - rank) * p_values[index], 1))
        )
        corrected[index] = largest
    return corrected
