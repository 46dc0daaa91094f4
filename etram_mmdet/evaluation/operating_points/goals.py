"""Goals by which a score threshold is chosen: F-beta, precision, recall or false alarms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from etram_mmdet.evaluation.curves import Counts
from etram_mmdet.evaluation.operating_points.rates import Stream
from etram_mmdet.utils.errors import InputError


class Goal(ABC):
    """Chooses one of R ascending score thresholds by the hits and false alarms at each of them."""

    @abstractmethod
    def choose(self, counts: Counts, stream: Stream) -> int:
        """Index of the best threshold, or of the closest one if none reaches the goal.

        Args:
            counts: hits and false alarms of a class at R ascending thresholds.
            stream: false alarms of all classes, and the time in which they were counted.
        """

    @abstractmethod
    def value(self, counts: Counts) -> np.ndarray:
        """The quantity that the goal makes as large as possible, at each threshold: (R,).

        Args:
            counts: hits and false alarms of a class at R thresholds.
        """

    def is_reached(self, counts: Counts, index: int, stream: Stream) -> bool:
        """Whether the goal is reached at a threshold.

        Args:
            counts: hits and false alarms of a class at R thresholds.
            index: index of the threshold.
            stream: as for :meth:`choose`.
        """
        return True

    def doubts(self, stream: Stream) -> list[str]:
        """Warnings about questions that the evaluated frames cannot answer.

        Args:
            stream: as for :meth:`choose`.
        """
        return []

    def choose_without_boxes(self, counts: Counts, stream: Stream, common: int) -> int:
        """Index of the threshold of a class that has too few boxes for a threshold of its own.

        Args:
            counts: hits and false alarms of the class at R thresholds.
            stream: as for :meth:`choose`.
            common: index of the common threshold of all classes, which is used by default.
        """
        return common


@dataclass(frozen=True)
class FBeta(Goal):
    """Picks the threshold with the largest F-beta score; ties go to the higher threshold.

    Attributes:
        beta: recall counts ``beta`` times as much as precision. Default: 1.

    Raises:
        InputError: ``beta`` is not above 0.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(
                f"--f-beta {self.beta}: expected a number above 0 (1 gives precision and recall "
                "the same weight)"
            )

    def __str__(self) -> str:
        return f"largest F{self.beta:g}"

    def choose(self, counts: Counts, stream: Stream) -> int:
        return _last_largest(self.value(counts))

    def value(self, counts: Counts) -> np.ndarray:
        return counts.f_beta(self.beta)


@dataclass(frozen=True)
class Limit(Goal):
    """Picks the best threshold among those that keep a bound; ties go to the higher threshold.

    Attributes:
        bound: the bound; each subclass says on which quantity.

    Raises:
        InputError: the bound is out of range.
    """

    bound: float

    def __post_init__(self) -> None:
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Check the bound.

        Raises:
            InputError: the bound is out of range.
        """

    def choose(self, counts: Counts, stream: Stream) -> int:
        kept = self.keeps(counts, stream)
        if kept.any():
            return _last_largest(np.where(kept, self.value(counts), -1))
        return self.closest(counts)

    def is_reached(self, counts: Counts, index: int, stream: Stream) -> bool:
        return bool(self.keeps(counts, stream)[index])

    @abstractmethod
    def keeps(self, counts: Counts, stream: Stream) -> np.ndarray:
        """Whether the bound is kept at each threshold: (R,) bool.

        Args:
            counts: hits and false alarms of a class at R thresholds.
            stream: as for :meth:`choose`.
        """

    @abstractmethod
    def closest(self, counts: Counts) -> int:
        """Index of the threshold to take if none keeps the bound.

        Args:
            counts: hits and false alarms of a class at R thresholds.
        """

    def _check_share(self, option: str) -> None:
        if not 0 < self.bound <= 1:
            raise InputError(f"{option} {self.bound}: expected a share above 0 and up to 1")


class Precision(Limit):
    """Picks the threshold with the largest recall among those with at least this precision.

    A threshold that no correct detection passes does not count as precise.
    """

    def check(self) -> None:
        self._check_share("--precision")

    def __str__(self) -> str:
        return f"precision of at least {self.bound:g}"

    def keeps(self, counts: Counts, stream: Stream) -> np.ndarray:
        return (counts.precision >= self.bound) & (counts.hits > 0)

    def closest(self, counts: Counts) -> int:
        return _last_largest(np.where(counts.hits > 0, counts.precision, -1))

    def value(self, counts: Counts) -> np.ndarray:
        return counts.recall


class Recall(Limit):
    """Picks the threshold with the largest precision among those with at least this recall."""

    def check(self) -> None:
        self._check_share("--recall")

    def __str__(self) -> str:
        return f"recall of at least {self.bound:g}"

    def keeps(self, counts: Counts, stream: Stream) -> np.ndarray:
        return counts.recall >= self.bound

    def closest(self, counts: Counts) -> int:
        return _last_largest(counts.recall)

    def value(self, counts: Counts) -> np.ndarray:
        return counts.precision


class FalseAlarms(Limit):
    """Picks the threshold with the largest recall under a limit of false alarms per minute.

    The limit holds for each class in another stream of the same length, with 95 % confidence, see
    :meth:`Stream.most_per_min`. If the evaluated stream is short, no threshold may keep the limit.
    """

    def check(self) -> None:
        if not self.bound >= 0:
            raise InputError(
                f"--false-alarms {self.bound}: expected a rate per minute of at least 0"
            )

    def __str__(self) -> str:
        return f"at most {self.bound:g} false alarms of a class per minute of stream"

    def keeps(self, counts: Counts, stream: Stream) -> np.ndarray:
        return stream.most_per_min(counts.alarms, self.bound) <= self.bound

    def doubts(self, stream: Stream) -> list[str]:
        least = stream.most_per_min(np.zeros(1), self.bound).item()
        minutes = stream.minutes.sum()
        doubts = []
        if least > self.bound:
            doubts.append(
                f"{minutes:.2f} minutes of stream are too short to guarantee {self}: even with no "
                f"false alarm seen, up to {least:.3g} a minute are possible; evaluate more "
                "recordings"
            )
        if not stream.empty_frames:
            doubts.append(
                "every evaluated frame holds a box, so false alarms in empty scenes were not "
                "counted"
            )
        return doubts

    def choose_without_boxes(self, counts: Counts, stream: Stream, common: int) -> int:
        """Index of the threshold: the common one, or a higher one if the limit requires it.

        False alarms can be counted without ground-truth boxes.
        """
        kept = np.flatnonzero(self.keeps(counts, stream))
        return max(common, int(kept[0]) if len(kept) else self.closest(counts))

    def closest(self, counts: Counts) -> int:
        """Index of the lowest threshold among those with the fewest false alarms."""
        return int(np.argmin(counts.alarms))

    def value(self, counts: Counts) -> np.ndarray:
        return counts.recall


GOALS = dict(f_beta=FBeta, precision=Precision, recall=Recall, false_alarms=FalseAlarms)


def _last_largest(values: np.ndarray) -> int:
    """Index of the largest value; ties go to the last one, which has the highest threshold."""
    return len(values) - 1 - int(np.argmax(values[::-1]))
