"""What a score threshold is chosen for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from etram_mmdet.evaluation.curves import Counts
from etram_mmdet.evaluation.operating_points.rates import Stream
from etram_mmdet.utils.errors import InputError


class Goal(ABC):
    """Chooses one of R ascending thresholds from what passes them."""

    @abstractmethod
    def choose(self, counts: Counts, stream: Stream) -> int:
        """Index of the best threshold; where none reaches the goal, of the one that comes closest."""

    @abstractmethod
    def value(self, counts: Counts) -> np.ndarray:
        """What the goal wants as large as possible, at each threshold."""

    def is_reached(self, counts: Counts, index: int, stream: Stream) -> bool:
        return True

    def doubts(self, stream: Stream) -> list[str]:
        """Sentences about what the evaluated frames cannot tell."""
        return []

    def choose_without_boxes(self, counts: Counts, stream: Stream, common: int) -> int:
        """For a class with too few boxes to tell: the index of the ``common`` threshold, unless more is known."""
        return common


@dataclass(frozen=True)
class FBeta(Goal):
    """The largest F-beta; of equal ones the highest threshold."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(
                f"--f-beta {self.beta}: expected more than 0 (1 weighs precision and recall alike)"
            )

    def __str__(self) -> str:
        return f"largest F{self.beta:g}"

    def choose(self, counts: Counts, stream: Stream) -> int:
        return _last_largest(self.value(counts))

    def value(self, counts: Counts) -> np.ndarray:
        return counts.f_beta(self.beta)


@dataclass(frozen=True)
class Limit(Goal):
    """A bound to keep: the threshold that gives most where the bound is kept."""

    bound: float

    def __post_init__(self) -> None:
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises ``InputError`` for a bound that means nothing."""

    def choose(self, counts: Counts, stream: Stream) -> int:
        kept = self.keeps(counts, stream)
        if kept.any():
            return _last_largest(np.where(kept, self.value(counts), -1))
        return self.closest(counts)

    def is_reached(self, counts: Counts, index: int, stream: Stream) -> bool:
        return bool(self.keeps(counts, stream)[index])

    @abstractmethod
    def keeps(self, counts: Counts, stream: Stream) -> np.ndarray:
        """Whether the bound is kept at each threshold."""

    @abstractmethod
    def closest(self, counts: Counts) -> int:
        """Where it is kept nowhere."""

    def _check_share(self, option: str) -> None:
        if not 0 < self.bound <= 1:
            raise InputError(f"{option} {self.bound}: expected a share above 0 and up to 1")


class Precision(Limit):
    """The most recall with at least this precision; nothing detected at all does not count as precise."""

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
    """The most precision with at least this recall."""

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
    """The most recall with at most so many false alarms of a class per minute of another stream as long as this one.

    At 95 % confidence, see :meth:`Stream.most_per_min`. Few minutes may allow no threshold at all.
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
                f"{minutes:.2f} minutes of stream are too few to promise {self}: even where none was seen, "
                f"{least:.3g} a minute may come; evaluate more recordings"
            )
        if not stream.empty_frames:
            doubts.append(
                "no evaluated frame is empty, so false alarms where there is nothing were not counted"
            )
        return doubts

    def choose_without_boxes(self, counts: Counts, stream: Stream, common: int) -> int:
        """False alarms can be counted where there is nothing to be found."""
        kept = np.flatnonzero(self.keeps(counts, stream))
        return max(common, int(kept[0]) if len(kept) else self.closest(counts))

    def closest(self, counts: Counts) -> int:
        """The lowest threshold of the fewest false alarms."""
        return int(np.argmin(counts.alarms))

    def value(self, counts: Counts) -> np.ndarray:
        return counts.recall


GOALS = dict(f_beta=FBeta, precision=Precision, recall=Recall, false_alarms=FalseAlarms)


def _last_largest(values: np.ndarray) -> int:
    """Of equal ones the one at the highest threshold."""
    return len(values) - 1 - int(np.argmax(values[::-1]))
