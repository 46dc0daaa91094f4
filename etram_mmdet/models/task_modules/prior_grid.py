"""The priors of a head without anchors: one per cell of each level's grid."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PriorGrid(NamedTuple):
    """``priors`` (P, 4): centre x, y of a cell and its stride, twice, in px; by level, row and column."""

    priors: Tensor
    levels: tuple[tuple[int, int, int], ...]  # rows, columns and stride in px of each

    def cells_around(self, centers: Tensor, reach: int) -> Tensor:
        """Indices of the cells up to ``reach`` from those that hold ``centers`` (..., 2), on every level: (..., n).

        A cell off the grid has index P.
        """
        offsets = torch.arange(-reach, reach + 1, device=centers.device)
        found, first = [], 0
        for rows, columns, stride in self.levels:
            # in double precision, where no quotient of a float and a stride is rounded up to the next integer
            column, row = (centers.double() / stride).floor().long().unbind(-1)
            row, column = (row[..., None] + offsets)[..., None], (column[..., None] + offsets)[..., None, :]
            is_inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            index = torch.where(is_inside, first + row * columns + column, len(self.priors))
            found.append(index.flatten(-2))
            first += rows * columns
        return torch.cat(found, -1)
