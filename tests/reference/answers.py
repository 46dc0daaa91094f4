"""Files of answers in ``tests/data``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "data"

Answers = dict[str, np.ndarray]


def save_packed(name: str, answers: Answers) -> None:
    """Join many short arrays of floats to one of float32.

    Every member of an .npz costs a few hundred bytes.
    """
    flat = [np.ravel(values) for values in answers.values()]
    np.savez_compressed(
        DATA / f"{name}.npz",
        names=np.array("\n".join(answers)),
        lengths=np.array([len(values) for values in flat]),
        values=np.concatenate(flat).astype(np.float32),
    )


def load_packed(name: str) -> Answers:
    with np.load(DATA / f"{name}.npz") as file:
        parts = np.split(file["values"], np.cumsum(file["lengths"])[:-1])
        return dict(zip(str(file["names"]).split("\n"), parts, strict=True))


def save(name: str, answers: Answers) -> None:
    np.savez_compressed(DATA / f"{name}.npz", **answers)


def load(name: str) -> Answers:
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)
