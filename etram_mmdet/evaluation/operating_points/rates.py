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
    def of(cls, frames: Sequence[FrameResult], matches: Matches, num_classes: int, thresholds: np.ndarray) -> Stream:
        """From ``matches`` of ``frames``, at ascending ``thresholds`` (T,)."""
        names, recordings = np.unique([frame.recording for frame in frames], return_inverse=True)
        minutes = np.bincount(recordings, [frame.step_us / 60e6 for frame in frames])
        rows = np.flatnonzero(matches.is_alarm[0])
        passed = np.searchsorted(np.float32(thresholds), matches.scores[rows], side="right")
        counts = np.zeros((len(names), num_classes, len(thresholds) + 1), np.int64)
        np.add.at(counts, (recordings[matches.detections.frames[rows]], matches.detections.labels[rows], passed), 1)
        return cls(minutes, counts[..., ::-1].cumsum(-1)[..., -2::-1], sum(not len(f.truth) for f in frames))

    def burst(self, per_min: float) -> float:
        """How many false alarms come together, at thresholds where about so many of a class come per minute.

        What is wrongly seen is seen in many windows in a row, and one street has more of it than the next. So numbers
        vary more from recording to recording than those of independent alarms, which have a variance as large as their
        mean. This is that variance over that mean, of all classes together since one class has few; at least 1.
        """
        if len(self.minutes) < 2:
            return 1.0
        distance = np.abs(self.alarms.sum(0) - per_min * self.minutes.sum())
        seen = np.take_along_axis(self.alarms, distance.argmin(1)[None, :, None], 2)[..., 0]  # (R, K)
        expected = np.outer(self.minutes / self.minutes.sum(), seen.sum(0))
        variance = ((seen - expected) ** 2).sum() * len(seen) / (len(seen) - 1)
        return max(1.0, variance / max(seen.sum(), 1))

    def most_per_min(self, alarms: np.ndarray, per_min: float) -> np.ndarray:
        """What the rates of all K classes stay below in another stream as long as this one, at `CONFIDENCE`.

        Args:
            alarms: (T,) false alarms of a class that were counted in this stream.
            per_min: as for :meth:`burst`.

        Returns:
            (T,) per minute. Prediction limits of a Poisson number of bursts: the number to come is negative binomial
            where that number is known and nothing else (flat prior). Each class gets a share of the doubt
            (Bonferroni).
        """
        from scipy import special  # slow to load

        burst = self.burst(per_min)
        confidence = 1 - (1 - CONFIDENCE) / self.alarms.shape[1]
        return special.nbdtrik(confidence, alarms / burst + 1, 0.5) * burst / self.minutes.sum()
