"""Upper limits of the false alarms per minute in another stream, from those that were counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.matching import Matches
from etram_mmdet.evaluation.results import FrameResult

CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Stream:
    """False alarms of R recordings, K classes and T score thresholds, and their observation time.

    Attributes:
        minutes: (R,) minutes of stream that the evaluated frames of each recording cover: one step
            per frame, since each frame is one window.
        alarms: (R, K, T) number of false alarms: detections that match no box.
        empty_frames: number of evaluated frames without a box.
    """

    minutes: np.ndarray
    alarms: np.ndarray
    empty_frames: int

    @classmethod
    def of(
        cls,
        frames: Sequence[FrameResult] | FrameColumns,
        matches: Matches,
        num_classes: int,
        thresholds: np.ndarray,
    ) -> Stream:
        """Count the false alarms of evaluated frames.

        Args:
            frames: evaluated frames.
            matches: their detections, matched to ground truth; the first IoU threshold is used.
            num_classes: number of classes, K.
            thresholds: (T,) ascending score thresholds.
        """
        columns = FrameColumns.of(frames)
        numbers, recordings = np.unique(columns.recordings, return_inverse=True)
        minutes = np.bincount(recordings, columns.step_us / 60e6)
        rows = np.flatnonzero(matches.is_alarm[0])
        passed = np.searchsorted(np.float32(thresholds), matches.scores[rows], side="right")
        counts = np.zeros((len(numbers), num_classes, len(thresholds) + 1), np.int64)
        np.add.at(
            counts,
            (recordings[matches.detections.frames[rows]], matches.detections.labels[rows], passed),
            1,
        )
        return cls(
            minutes,
            counts[..., ::-1].cumsum(-1)[..., -2::-1],
            int((columns.truth.counts == 0).sum()),
        )

    def burst(self, per_min: float) -> float:
        """Mean number of false alarms that occur together (in a burst), at least 1.

        An object that is detected wrongly is detected in many windows in a row, and some streets
        have more such objects than others. So the counts of recordings vary more than the counts of
        independent alarms (Poisson), whose variance equals their mean. The result is the ratio of
        variance to mean, the dispersion of a quasi-Poisson model (McCullagh and Nelder, Generalized
        Linear Models, chapter 6): alarms behave like independent bursts of this size. It is one
        number for all classes, since a single class has few alarms.

        Args:
            per_min: rate of false alarms per minute. Each class is counted at the threshold at
                which its rate is closest to this one. If it is the limit to keep, the result
                describes a stream that just reaches the limit; at lower rates bursts are smaller.
        """
        if len(self.minutes) < 2:
            return 1.0
        share = self.minutes / self.minutes.sum()
        distance = np.abs(self.alarms.sum(0) - per_min * self.minutes.sum())
        seen = np.take_along_axis(self.alarms, distance.argmin(1)[None, :, None], 2)[
            ..., 0
        ]  # (R, K)
        squares = ((seen - np.outer(share, seen.sum(0))) ** 2).sum()
        # Expected squares of independent alarms: their number times this, as shares sum up to 1.
        variance = squares / (1 - (share**2).sum())
        return max(1.0, variance / max(seen.sum(), 1))

    def most_per_min(self, alarms: np.ndarray, per_min: float) -> np.ndarray:
        """Upper limit of the false alarms per minute in another stream of the same length.

        All K classes stay below their limits with the confidence `CONFIDENCE`: each class gets a
        K-th of the error probability (Bonferroni). Alarms come in bursts of the size
        :meth:`burst`, and bursts are independent of each other. If n bursts were counted in a
        stream, and nothing else is known (flat prior of their rate), the number in another stream
        of this length has a negative binomial distribution with n + 1 and probability 1/2.

        Args:
            alarms: (T,) false alarms of the class that were counted in this stream.
            per_min: as for :meth:`burst`.

        Returns:
            (T,) upper prediction limits, per minute.
        """
        from scipy import special  # slow to load

        burst = self.burst(per_min)
        confidence = 1 - (1 - CONFIDENCE) / self.alarms.shape[1]
        return special.nbdtrik(confidence, alarms / burst + 1, 0.5) * burst / self.minutes.sum()
