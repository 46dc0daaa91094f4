"""The order in which a sampler takes streams or clips, and how often it takes each of them.

Two of the orders show rare classes more often. An order is registered in mmdet's ``DATA_SAMPLERS``.
A config names it in ``stream_order`` or ``random_order`` of a ``StreamBatchSampler``.

Drawing a clip and augmenting it use different random generators: a dataset derives one for each
transform from the seed that an order returns (``generator``). So which clip is drawn and how it is
augmented are independent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from etram_mmdet.datasets.clips import Segment, Segments
from etram_mmdet.utils.errors import InputError

# Draws made at once. That takes 0.1 ms when a position is far from the last one, else almost none.
_BLOCK = 1024


class ClipOrder(ABC):
    """An endless sequence over ``items``. Any position can be read without those before it.

    Args:
        items: streams or clips to choose from.
        seed: seed of the whole order; the same seed gives the same sequence.
        dataset: data set of the items. Orders that count boxes use its ``boxes_before``
            (``boxes_per_item``). Default: none.
    """

    def __init__(self, items: Sequence[Segment], seed: int, dataset: Dataset | None = None) -> None:
        self.items = items
        self.seed = seed

    @abstractmethod
    def __getitem__(self, position: int) -> tuple[Segment, tuple[int, ...]]:
        """Return the item at a position, and a seed that no other position has."""


@DATA_SAMPLERS.register_module()
class ShuffledOrder(ClipOrder):
    """Shuffled passes, each of which shows every item once.

    Only the pass that was read last is kept in memory.

    Args:
        items: streams or clips to shuffle.
        seed: seed of all passes.
        dataset: not used; other orders need it. Default: none.
    """

    def __init__(self, items: Sequence[Segment], seed: int, dataset: Dataset | None = None) -> None:
        super().__init__(items, seed, dataset)
        self._number = -1
        self._first = 0
        self._content = range(0)
        self._shuffled = np.empty(0, int)

    def __getitem__(self, position: int) -> tuple[Segment, tuple[int, ...]]:
        if not 0 <= position - self._first < len(self._shuffled):
            self._number, self._first, self._content = self._pass_at(position)
            self._shuffled = np.random.default_rng((self.seed, self._number)).permutation(
                len(self._content)
            )
        place = int(self._shuffled[position - self._first])
        return self.items[self._content[place]], (self.seed, self._number, place)

    def _pass_at(self, position: int) -> tuple[int, int, Sequence[int]]:
        """Number of the pass with this position, its first position, and its items unshuffled."""
        number = position // len(self.items)
        return number, number * len(self.items), range(len(self.items))


@DATA_SAMPLERS.register_module()
class RepeatFactorOrder(ShuffledOrder):
    """Shuffled passes that show items with rare classes several times: LVIS's repeat factors.

    Source: Gupta et al., CVPR 2019. An item with repeat factor r is in every pass floor(r) or
    ceil(r) times, and r times on average: the passes before pass p show it floor(p r + u) times,
    with one random u in [0, 1) per item. So the pass that holds a position is found by counting,
    without going through the earlier passes.

    Args:
        items: streams or clips to choose from.
        seed: seed of all passes.
        dataset: data set of the items; its ``boxes_before`` counts their boxes.
        threshold: share of the items in (0, 1]; a class that fewer items hold is rare
            (``repeat_factors``). Default: 0.1.

    Raises:
        InputError: for a threshold outside (0, 1].
    """

    def __init__(
        self, items: Sequence[Segment], seed: int, dataset: Dataset, threshold: float = 0.1
    ) -> None:
        if not 0 < threshold <= 1:
            raise InputError(
                f"RepeatFactorOrder: threshold={threshold}, expected a share of clips above 0 and "
                "up to 1"
            )
        super().__init__(items, seed, dataset)
        self.factors = repeat_factors(boxes_per_item(items, dataset), threshold)
        self._phases = _uniform((seed,), len(items))

    def _pass_at(self, position: int) -> tuple[int, int, Sequence[int]]:
        # Each pass is at least as long as the list of items.
        passes = range(position // len(self.items) + 2)
        number = bisect_right(passes, position, key=lambda p: self._shown_before(p).sum()) - 1
        before, after = self._shown_before(number), self._shown_before(number + 1)
        return number, int(before.sum()), np.repeat(np.arange(len(self.items)), after - before)

    def _shown_before(self, number: int) -> np.ndarray:
        """How often the passes before pass ``number`` show each item."""
        return np.floor(number * self.factors + self._phases).astype(np.int64)


@DATA_SAMPLERS.register_module()
class ClassWeightedOrder(ClipOrder):
    """Draws items with replacement; boxes of rare classes raise the chance of an item most.

    Args:
        items: streams or clips to choose from.
        seed: seed of all draws.
        dataset: data set of the items; its ``boxes_before`` counts their boxes.
        power: how much rare classes are favoured (``class_weights``). 1 is RVT's rule, with
            which every class weighs the same in total. 0 counts boxes whatever their class.
            Default: 0.5.

    Raises:
        InputError: for a negative power.
    """

    def __init__(
        self, items: Sequence[Segment], seed: int, dataset: Dataset, power: float = 0.5
    ) -> None:
        if not power >= 0:
            raise InputError(
                f"ClassWeightedOrder: power={power}, expected 0 or more; a negative power would "
                "show rare classes less often"
            )
        super().__init__(items, seed, dataset)
        total = np.cumsum(class_weights(boxes_per_item(items, dataset), power))
        self._upper = total / total[-1]
        self._block = -1
        self._drawn = np.empty(0, int)

    def __getitem__(self, position: int) -> tuple[Segment, tuple[int, ...]]:
        block, offset = divmod(position, _BLOCK)
        if self._block != block:
            self._block = block
            self._drawn = np.searchsorted(
                self._upper, _uniform((self.seed, block), _BLOCK), side="right"
            )
        return self.items[self._drawn[offset]], (self.seed, position)


def repeat_factors(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """How often LVIS's rule shows each item: (N,), at least 1.

    r(class) = max(1, sqrt(threshold / share of the items that hold the class)). r(item) is the
    largest r of its classes.

    Args:
        boxes: (N, K) number of boxes of each item per class.
        threshold: share of the items; a class that fewer items hold is shown more often.
    """
    holds = boxes > 0
    shares = holds.mean(0)
    per_class = np.sqrt(threshold / np.where(shares > 0, shares, 1))
    return np.where(holds, per_class, 1).max(1, initial=1)


def class_weights(boxes: np.ndarray, power: float) -> np.ndarray:
    """Weights (N,) of items: the sum over their boxes of (number of boxes of that class)^-power.

    An item without boxes gets the smallest weight of the others, so that it is shown too.

    Args:
        boxes: (N, K) number of boxes of each item per class.
        power: 0 counts all boxes alike, 1 gives every class the same total weight.
    """
    weights = boxes @ np.maximum(boxes.sum(0), 1).astype(float) ** -power
    seen = weights > 0
    return np.where(seen, weights, weights[seen].min() if seen.any() else 1)


def boxes_per_item(items: Sequence[Segment], dataset: Dataset) -> np.ndarray:
    """Number of boxes (N, K) of every item per class.

    Items overlap. So the boxes of an item are the difference of two running sums over its
    recording.

    Args:
        items: N streams or clips.
        dataset: data set of the items, with ``boxes_before`` and K classes in its ``metainfo``.
    """
    rows = Segments.of(items).rows
    boxes = np.empty((len(rows), len(dataset.metainfo["classes"])), np.int64)
    order = np.argsort(rows[:, 0], kind="stable")
    recordings, first = np.unique(rows[order, 0], return_index=True)
    for recording, found in zip(recordings.tolist(), np.split(order, first[1:]), strict=True):
        start, stop = (dataset.boxes_before(recording, rows[found, i]) for i in (1, 2))
        boxes[found] = stop - start
    return boxes


def _uniform(seed: tuple[int, ...], number: int) -> np.ndarray:
    """Random numbers (``number``,) in [0, 1) that ``seed`` alone decides."""
    return np.random.Generator(np.random.Philox(seed)).random(number)


def build_order(
    cfg: dict | None, items: Sequence[Segment], seed: int, dataset: Dataset
) -> ClipOrder:
    """Build the order that a config names.

    Args:
        cfg: ``dict(type=...)`` of a registered ``ClipOrder`` with its arguments. None: shuffled
            passes.
        items: streams or clips to choose from.
        seed: seed of the order.
        dataset: data set of the items.

    Raises:
        InputError: when ``cfg`` names no order; the message lists the registered ones.
    """
    registered = DATA_SAMPLERS.module_dict.items()
    orders = {
        name: cls
        for name, cls in registered
        if isinstance(cls, type) and issubclass(cls, ClipOrder)
    }
    cfg = dict(type="ShuffledOrder") if cfg is None else cfg
    name = cfg.get("type") if isinstance(cfg, dict) else None
    if name not in orders:
        raise InputError(
            f"{cfg}: names no order of clips; expected dict(type=...) with one of "
            f"{', '.join(sorted(orders))}"
        )
    return orders[name](
        items, seed, dataset, **{key: value for key, value in cfg.items() if key != "type"}
    )
