"""How many false alarms a minute another stream will have at most, from those in evaluated windows of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etram_mmdet.evaluation.matching import Matches
from etram_mmdet.evaluation.results import FrameResult

CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Stream:
    """False alarms of R recordings, K classes and T score thresholds, and the time that they were counted in.

    Attributes:
        minutes: (R,) of stream that the evaluated frames of each recording stand for, a window and so a step each.
        alarms: (R, K, T) detections that match nothing.
        empty_frames: number of evaluated frames without a box.
    """

    minutes: np.ndarray
    alarms: np.ndarray
    empty_frames: int

    @classmethod
    def of(
        cls,
        frames: Sequence[FrameResult],
        matches: Matches,
        num_classes: int,
        thresholds: np.ndarray,
    ) -> Stream:
        """From ``matches`` of ``frames``, at ascending ``thresholds`` (T,)."""
        names, recordings = np.unique([frame.recording for frame in frames], return_inverse=True)
        minutes = np.bincount(recordings, [frame.step_us / 60e6 for frame in frames])
        rows = np.flatnonzero(matches.is_alarm[0])
        passed = np.searchsorted(np.float32(thresholds), matches.scores[rows], side="right")
        counts = np.zeros((len(names), num_classes, len(thresholds) + 1), np.int64)
        np.add.at(
            counts,
            (recordings[matches.detections.frames[rows]], matches.detections.labels[rows], passed),
            1,
        )
        return cls(
            minutes,
            counts[..., ::-1].cumsum(-1)[..., -2::-1],
            sum(not len(f.truth) for f in frames),
        )

    def burst(self, per_min: float) -> float:
        """How many false alarms come together, where about ``per_min`` of a class come in a minute: 1 or more.

        What is wrongly seen is seen in many windows in a row, and one street has more of it than the next. So counts
        of recordings differ more than those of independent alarms (Poisson), whose variance is their mean. This is
        that variance over that mean, the dispersion of a quasi-Poisson model (McCullagh and Nelder, Generalized Linear
        Models, chapter 6): alarms then behave like so many times fewer independent ones. It is one number for all
        classes, each counted at its threshold nearest to ``per_min``, since a class alone has few alarms. With
        ``per_min`` the bound to keep, as here, that is how a stream varies which would come up to it; at a rate below
        bursts are smaller.
        """
        if len(self.minutes) < 2:
            return 1.0
        share = self.minutes / self.minutes.sum()
        distance = np.abs(self.alarms.sum(0) - per_min * self.minutes.sum())
        seen = np.take_along_axis(self.alarms, distance.argmin(1)[None, :, None], 2)[
            ..., 0
        ]  # (R, K)
        squares = ((seen - np.outer(share, seen.sum(0))) ** 2).sum()
        # independent alarms would give a sum of squares of their number times this, since shares sum up to 1
        variance = squares / (1 - (share**2).sum())
        return max(1.0, variance / max(seen.sum(), 1))

    def most_per_min(self, alarms: np.ndarray, per_min: float) -> np.ndarray:
        """What the rate of a class stays below in another stream as long as this one, with `CONFIDENCE`.

        That is the confidence with which all K classes stay below theirs: each gets a K-th of the doubt (Bonferroni).

        Args:
            alarms: (T,) false alarms of the class that were counted in this stream.
            per_min: as for :meth:`burst`.

        Returns:
            (T,) per minute: upper prediction limits. Alarms come in bursts of :meth:`burst`, and bursts independently
            of each other. Where n of them were counted in a time, and nothing else is known (flat prior of their rate),
            the number in another such time is negative binomial, with n + 1 and probability 1/2.
        """
        from scipy import special  # slow to load

        burst = self.burst(per_min)
        confidence = 1 - (1 - CONFIDENCE) / self.alarms.shape[1]
        return special.nbdtrik(confidence, alarms / burst + 1, 0.5) * burst / self.minutes.sum()
