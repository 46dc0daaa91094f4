"""How far the reference's choices are from being decided by rounding."""

from __future__ import annotations

import torch
from torch import Tensor


class Margins:
    """Watches RVT's head match boxes.

    It keeps the smallest distance between a choice and its alternative.
    """

    def __init__(self, head) -> None:
        self.smallest = float("inf")
        self._matching = head.simota_matching
        head.simota_matching = self._look_on

    def _look_on(self, cost: Tensor, ious: Tensor, *args):
        sums = ious.topk(min(10, ious.shape[1]), dim=1).values.sum(1)
        self._keep((sums - sums.round()).abs()[sums > 0.5])
        counts = sums.int().clamp(min=1)
        in_order = cost.sort(dim=1).values
        wanted = torch.zeros_like(cost)
        for box, count in enumerate(counts.tolist()):
            self._keep(in_order[box, count : count + 1] - in_order[box, count - 1])
            wanted[box] = cost[box] <= in_order[box, count - 1]
        two_best = cost[:, wanted.sum(0) > 1].sort(dim=0).values[:2]
        if two_best.numel():
            self._keep(two_best[1] - two_best[0])
        return self._matching(cost, ious, *args)

    def _keep(self, distances: Tensor) -> None:
        if distances.numel():
            self.smallest = min(self.smallest, float(distances.min()))

    def check(self, case: str, least: float) -> None:
        print(f"{case}: a choice is at least {self.smallest:.2g} from the next one")
        if self.smallest < least:
            raise SystemExit(f"{case}: rounding could decide; change its salt")
