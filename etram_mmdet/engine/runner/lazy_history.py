"""Logged numbers that stay on the GPU until somebody asks for one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

_MOST_STEPS = 1000  # that wait to be read


class LazyHistory(HistoryBuffer):
    """A history of one logged number, whose newest values may not have been read yet.

    Whatever uses the values, such as a mean for the log or a checkpoint, reads those of all
    histories with the same ``unread`` at once. Copies and pickles are mmengine's ``HistoryBuffer``.

    Args:
        history: earlier values.
        unread: values of all histories that have not been read.
    """

    def __init__(self, history: HistoryBuffer, unread: Unread) -> None:
        self.unread = unread
        self.waiting = 0  # own values that have not been read
        super().__init__(*history.data, history.max_length)

    @property
    def _log_history(self) -> np.ndarray:
        self.unread.read()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self.unread.read()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    @property
    def length(self) -> int:
        """Number of values, of which none is read for this."""
        return len(self._values) + self.waiting

    def arrive(self, value: float) -> None:
        """Take the oldest value that was not read.

        Args:
            value: the number.
        """
        self.waiting -= 1
        super().update(value)

    def __reduce__(self) -> tuple:
        return HistoryBuffer, (*self.data, self.max_length)


class Unread:
    """Values of the last steps that are still on the device; one read fetches all of them."""

    def __init__(self) -> None:
        self._steps: list[tuple[list[LazyHistory], Tensor]] = []

    def add(self, histories: list[LazyHistory], values: Sequence[Tensor]) -> None:
        """Keep the values of one step.

        Args:
            histories: one per value, which gets it when it is read.
            values: tensors of one number, on one device. They are copied there, so the caller may
                overwrite them.
        """
        if not histories:
            return
        copied = torch.stack([value.detach().reshape(()) for value in values]).double()
        self._steps.append((histories, copied))
        for history in histories:
            history.waiting += 1
        if len(self._steps) >= _MOST_STEPS:
            self.read()

    def read(self) -> None:
        """Hand every value on to its history. A GPU is read once, if there are any."""
        steps = self._steps
        self._steps = []
        if not steps:
            return
        numbers = iter(torch.cat([values for _, values in steps]).tolist())
        for histories, _ in steps:
            for history in histories:
                history.arrive(next(numbers))
