"""In which order a sampler takes streams or clips, and how often each: here rare classes are shown more often.

An order is registered in mmdet's ``DATA_SAMPLERS`` and named by ``stream_order`` or ``random_order`` of a
``StreamBatchSampler``. Its seeds start no generator as they are: a dataset derives one for each transform
(``generator``), so that why a clip was drawn does not decide how it is augmented.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from etram_mmdet.datasets.clips import Segment
from etram_mmdet.utils.errors import InputError

_BLOCK = 1024  # draws made at once: 0.1 ms where a position is far from the last one, next to nothing elsewhere


class ClipOrder(ABC):
    """An endless sequence over ``items``; any position can be asked for, none depends on another.

    ``dataset.boxes_per_class`` tells what an item holds, where an order asks (``boxes_per_item``).
    """

    def __init__(self, items: list[Segment], seed: int, dataset: Dataset | None = None) -> None:
        self.items = items
        self.seed = seed

    @abstractmethod
    def __getitem__(self, position: int) -> tuple[Segment, tuple[int, ...]]:
        """The item there, and a seed that no other position has."""


@DATA_SAMPLERS.register_module()
class ShuffledOrder(ClipOrder):
    """Shuffled passes, each of which shows every item once. Only the pass asked for last is kept."""

    def __init__(self, items: list[Segment], seed: int, dataset: Dataset | None = None) -> None:
        super().__init__(items, seed, dataset)
        self._number = -1
        self._first = 0
        self._content = range(0)
        self._shuffled = np.empty(0, int)

    def __getitem__(self, position: int) -> tuple[Segment, tuple[int, ...]]:
        if not 0 <= position - self._first < len(self._shuffled):
            self._number, self._first, self._content = self._pass_at(position)
            self._shuffled = np.random.default_rng((self.seed, self._number)).permutation(len(self._content))
        place = int(self._shuffled[position - self._first])
        return self.items[self._content[place]], (self.seed, self._number, place)

    def _pass_at(self, position: int) -> tuple[int, int, Sequence[int]]:
        """Number of the pass that holds a position, the first position of that pass, and its items before shuffling."""
        number = position // len(self.items)
        return number, number * len(self.items), range(len(self.items))


@DATA_SAMPLERS.register_module()
class RepeatFactorOrder(ShuffledOrder):
    """Shuffled passes that show items with rare classes several times: LVIS's repeat factors (Gupta et al., CVPR 2019).

    A class is rare where less than ``threshold`` of the items hold it (``repeat_factors``). An item of factor r is in
    every pass floor(r) or ceil(r) times, r on average: passes before pass p show it floor(p r + u) times, with a random
    u in [0, 1) per item. So the pass of a position is found by counting, not by going through those before.

    Raises:
        InputError: for a threshold outside (0, 1].
    """

    def __init__(self, items: list[Segment], seed: int, dataset: Dataset, threshold: float = 0.1) -> None:
        if not 0 < threshold <= 1:
            raise InputError(f"RepeatFactorOrder: threshold={threshold}, expected a share of clips above 0 and up to 1")
        super().__init__(items, seed, dataset)
        self.factors = repeat_factors(boxes_per_item(items, dataset), threshold)
        self._phases = _uniform((seed,), len(items))

    def _pass_at(self, position: int) -> tuple[int, int, Sequence[int]]:
        passes = range(position // len(self.items) + 2)  # each is at least as long as the list of items
        number = bisect_right(passes, position, key=lambda p: self._shown_before(p).sum()) - 1
        before, after = self._shown_before(number), self._shown_before(number + 1)
        return number, int(before.sum()), np.repeat(np.arange(len(self.items)), after - before)

    def _shown_before(self, number: int) -> np.ndarray:
        """How often the passes before pass ``number`` show each item."""
        return np.floor(number * self.factors + self._phases).astype(np.int64)


@DATA_SAMPLERS.register_module()
class ClassWeightedOrder(ClipOrder):
    """Draws with replacement; an item's chance grows with its boxes, those of rare classes above all.

    ``power=1`` is RVT's rule, with which every class weighs the same in total; ``power=0`` counts boxes whatever their
    class (``class_weights``).

    Raises:
        InputError: for a negative power.
    """

    def __init__(self, items: list[Segment], seed: int, dataset: Dataset, power: float = 0.5) -> None:
        if not power >= 0:
            raise InputError(f"ClassWeightedOrder: power={power}, expected 0 or more; below 0 rare classes get rarer")
        super().__init__(items, seed, dataset)
        total = np.cumsum(class_weights(boxes_per_item(items, dataset), power))
        self._upper = total / total[-1]
        self._block = -1
        self._drawn = np.empty(0, int)

    def __getitem__(self, position: int) -> tuple[Segment, tuple[int, ...]]:
        block, offset = divmod(position, _BLOCK)
        if self._block != block:
            self._block = block
            self._drawn = np.searchsorted(self._upper, _uniform((self.seed, block), _BLOCK), side="right")
        return self.items[self._drawn[offset]], (self.seed, position)


def repeat_factors(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """How often LVIS's rule shows each item, from its boxes (N, K) per class: (N,), at least 1.

    r(class) = max(1, sqrt(threshold / share of items that hold it)), r(item) = the largest of its classes.
    """
    holds = boxes > 0
    shares = holds.mean(0)
    per_class = np.sqrt(threshold / np.where(shares > 0, shares, 1))
    return np.where(holds, per_class, 1).max(1, initial=1)


def class_weights(boxes: np.ndarray, power: float) -> np.ndarray:
    """Weights (N,) of items from their boxes (N, K) per class: the sum over boxes of (boxes of that class)^-power.

    An item without boxes gets the smallest weight of the others, so that it is shown too.
    """
    weights = boxes @ np.maximum(boxes.sum(0), 1).astype(float) ** -power
    seen = weights > 0
    return np.where(seen, weights, weights[seen].min() if seen.any() else 1)


def boxes_per_item(items: list[Segment], dataset: Dataset) -> np.ndarray:
    """Boxes (N, K) of every item per class.

    Items overlap, so each recording is counted once, from one start or stop to the next; an item is a difference.
    """
    recordings = np.array([i.recording for i in items])
    frames = np.array([(i.start, i.stop) for i in items])
    boxes = np.empty((len(items), len(dataset.metainfo["classes"])), np.int64)
    for recording in np.unique(recordings).tolist():
        rows = np.flatnonzero(recordings == recording)
        borders, places = np.unique(frames[rows], return_inverse=True)
        between = [dataset.boxes_per_class(Segment(recording, *pair)) for pair in pairwise(borders.tolist())]
        before = np.cumsum([np.zeros_like(between[0]), *between], axis=0)
        start, stop = places.reshape(-1, 2).T
        boxes[rows] = before[stop] - before[start]
    return boxes


def _uniform(seed: tuple[int, ...], number: int) -> np.ndarray:
    """Numbers (``number``,) in [0, 1) that follow from ``seed``."""
    return np.random.Generator(np.random.Philox(seed)).random(number)


def build_order(cfg: dict | None, items: list[Segment], seed: int, dataset: Dataset) -> ClipOrder:
    """The order that a config names, shuffled passes without one; ``InputError`` naming those there are."""
    registered = DATA_SAMPLERS.module_dict.items()
    orders = {name: cls for name, cls in registered if isinstance(cls, type) and issubclass(cls, ClipOrder)}
    cfg = dict(type="ShuffledOrder") if cfg is None else cfg
    name = cfg.get("type") if isinstance(cfg, dict) else None
    if name not in orders:
        raise InputError(f"no order of clips is named by {cfg}: expected dict(type=...) of {', '.join(sorted(orders))}")
    return orders[name](items, seed, dataset, **{key: value for key, value in cfg.items() if key != "type"})
