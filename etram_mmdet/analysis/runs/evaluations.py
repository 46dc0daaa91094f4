"""The evaluations that training and tests write into results.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from etram_mmdet.evaluation.results_table import evaluations
from etram_mmdet.utils.errors import InputError

RESULTS_FILE = "results.csv"


@dataclass(frozen=True)
class Selection:
    """Says which evaluation of a run is compared.

    Attributes:
        split: split of the evaluation. Default: ``val``.
        step: step of the evaluation. Default: the last one.
        best: whether the evaluation with the highest AP is taken instead. Default: no.
    """

    split: str = "val"
    step: int | None = None
    best: bool = False

    def __str__(self) -> str:
        if self.best:
            return f"{self.split} evaluation of highest AP (--best), which favours every run"
        return (
            f"last {self.split} evaluation"
            if self.step is None
            else f"{self.split} evaluation at step {self.step}"
        )

    def step_among(self, evaluations: dict[int, dict[str, float]], folder: Path) -> int:
        """Returns the step of the evaluation that is compared.

        Args:
            evaluations: metrics by step, from :func:`read_evaluations`.
            folder: work folder of the run, named in errors.

        Raises:
            InputError: there is no such evaluation.
        """
        if not evaluations:
            raise InputError(
                f"{folder / RESULTS_FILE}: no {self.split} evaluation under the run's headline "
                f"protocol yet; add one: tools/test.py {folder} --cfg-options "
                f"test_dataloader.dataset.split={self.split}"
            )
        if self.step is not None and self.step not in evaluations:
            raise InputError(
                f"{folder}: no {self.split} evaluation at step {self.step}, expected one of "
                f"{', '.join(map(str, evaluations))}; leave --step out to compare each run's "
                "last"
            )
        if self.best:
            return max(evaluations, key=lambda step: evaluations[step]["AP"])
        return max(evaluations) if self.step is None else self.step


def read_evaluations(path: Path, split: str, record: dict) -> dict[int, dict[str, float]]:
    """Reads the evaluations of a run under its headline protocol and post-processing.

    Args:
        path: results.csv of the run.
        split: split of the evaluations.
        record: run.json of the run.

    Returns:
        Metrics by step, in ascending order. The protocol's name is left out of their keys.

    Raises:
        InputError: the file is not a table that training wrote.
    """
    prefix = headline(record).split(": ")[0] + "/"
    try:
        rows = {int(row["step"]): row for row in evaluations(path, split, record)}
        return {
            step: {
                key.removeprefix(prefix): float(v)
                for key, v in row.items()
                if key.startswith(prefix) and v
            }
            for step, row in rows.items()
            if row.get(f"{prefix}AP")
        }
    except (KeyError, AttributeError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: damaged, not a table that training wrote ({error}); restore it"
        ) from error


def headline(record: dict) -> str:
    """Returns the first protocol of a run, with its rules.

    Args:
        record: run.json of the run.
    """
    return record["protocol"].split("; ")[0]
