"""A list of transforms that each have random numbers of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from mmengine.dataset import Compose

from etram_mmdet.utils.random_numbers import generator


class OwnNumbers(Compose):
    """mmengine's ``Compose`` that gives every transform random generators of its own.

    ``results["seeds"]`` holds a seed for each kind of random numbers. A transform finds a generator
    of each kind under its key. That seed, the transform's class and its place among the transforms
    of its class decide the numbers.

    Args:
        transforms: built transforms.
    """

    def __init__(self, transforms: list[Callable]) -> None:
        super().__init__(transforms)
        seen: Counter[str] = Counter()
        self.names = []
        for name in (type(transform).__name__ for transform in self.transforms):
            self.names.append((name, seen[name]))
            seen[name] += 1

    def __call__(self, results: dict) -> dict | None:
        for name, transform in zip(self.names, self.transforms, strict=True):
            for key, seed in results["seeds"].items():
                results[key] = generator(seed, key, *name)
            results = transform(results)
            if results is None:
                return None
        return results
