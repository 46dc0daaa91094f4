"""The evaluations that training and tests leave in results.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from etram_mmdet.events.errors import InputError

RESULTS_FILE = "results.csv"


@dataclass(frozen=True)
class Selection:
    """Which evaluation of a run on ``split`` counts: that at ``step``, the one with the ``best`` AP, or the last."""

    split: str = "val"
    step: int | None = None
    best: bool = False

    def __str__(self) -> str:
        if self.best:
            return f"{self.split} evaluation of highest AP (--best), a choice that flatters"
        return f"last {self.split} evaluation" if self.step is None else f"{self.split} evaluation at step {self.step}"

    def step_among(self, evaluations: dict[int, dict[str, float]], folder: Path) -> int:
        """The step of the evaluation that counts; raises ``InputError`` where there is none."""
        if not evaluations:
            raise InputError(
                f"{folder / RESULTS_FILE}: no {self.split} evaluation under the run's headline protocol yet; add one: "
                f"tools/test.py $(cat {folder / 'last_checkpoint'}) --cfg-options "
                f"test_dataloader.dataset.split={self.split}"
            )
        if self.step is not None and self.step not in evaluations:
            raise InputError(
                f"{folder}: no {self.split} evaluation at step {self.step}, expected one of "
                f"{', '.join(map(str, evaluations))}; leave --step out for the last of each run"
            )
        if self.best:
            return max(evaluations, key=lambda step: evaluations[step]["AP"])
        return max(evaluations) if self.step is None else self.step


def read_evaluations(path: Path, split: str, protocol: str) -> dict[int, dict[str, float]]:
    """Metrics under ``protocol`` by ascending step, without its name; of a step that was evaluated again, the latest.

    Raises ``InputError`` for a table that training did not write like this.
    """
    prefix, found = f"{protocol}/", {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, restval="cut off"):
                if row["split"] == split and row.get(f"{prefix}AP"):
                    ours = {key.removeprefix(prefix): v for key, v in row.items() if key.startswith(prefix) and v}
                    found[int(row["step"])] = {key: float(value) for key, value in ours.items()}
    except (KeyError, AttributeError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: damaged, not the table of a training ({error}); restore it") from error
    return dict(sorted(found.items()))
