"""Divide work over the tasks of an array job, such as those of Slurm and Kubernetes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from etram_mmdet.utils.errors import InputError

Item = TypeVar("Item")
AUTO = "auto"
_SLURM = "SLURM_ARRAY_TASK_"
_KUBERNETES = "JOB_COMPLETION_INDEX"
_FORMS = f"I/N (as 1/4 to 4/4), {AUTO} or {AUTO}/N"


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work.

    Args:
        number: number of the part, counted from 1.
        count: number of all parts.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(
                f"shard {self}: expected a number from 1 to {self.count}; shards are counted from 1"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def part_of(self, items: Sequence[Item], size: Callable[[Item], float]) -> list[Item]:
        """The items of this shard, in their order; shards get about the same size.

        Each item goes to the shard that is smallest so far, so items should come with falling size.

        Args:
            items: all items, in the same order in every process.
            size: size of an item, such as the bytes of its file.
        """
        sizes = [0.0] * self.count
        mine = []
        for item in items:
            # equally small ones take turns, also where no item has a size
            smallest = min(range(self.count), key=sizes.__getitem__)
            sizes[smallest] += size(item) + 1
            if smallest == self.number - 1:
                mine.append(item)
        return mine


def shard_of(text: str, env: Mapping[str, str] = os.environ) -> Shard:
    """The shard that ``--shard`` names.

    Args:
        text: ``I/N``; ``auto`` for the place in the array of Slurm; or ``auto/N`` for one of N
            tasks whose index counts from 0, as Kubernetes' JOB_COMPLETION_INDEX does.
        env: environment of this process. Default: the real one.

    Raises:
        InputError: the text has another form, or the variables are missing or do not fit.
    """
    match = re.fullmatch(rf"(\d+|{AUTO})(?:/(\d+))?", text)
    if match is None or (match[1] != AUTO and match[2] is None):
        raise InputError(f"--shard {text}: expected {_FORMS}")
    count = int(match[2]) if match[2] else None
    if match[1] != AUTO:
        return Shard(int(match[1]), count)
    return _place_in_array(env) if count is None else Shard(_index(env) + 1, count)


def _index(env: Mapping[str, str]) -> int:
    for name in (f"{_SLURM}ID", _KUBERNETES):
        if env.get(name):
            return _number_in(env, name)
    raise InputError(
        f"--shard {AUTO}: neither {_SLURM}ID nor {_KUBERNETES} is set; start this in an array of "
        "Slurm (sbatch --array) or an indexed job of Kubernetes, or pass --shard I/N"
    )


def _place_in_array(env: Mapping[str, str]) -> Shard:
    index = _index(env)
    if not env.get(f"{_SLURM}ID"):
        raise InputError(
            f"--shard {AUTO}: {_KUBERNETES} is set, but Kubernetes tells no process how many there "
            f"are; add the job's number of completions: --shard {AUTO}/N"
        )
    count, first, last = (_number_in(env, f"{_SLURM}{word}") for word in ("COUNT", "MIN", "MAX"))
    if count == 1 and first > 1:
        raise InputError(
            f"--shard {AUTO}: the array has the task {first} only, which would take all "
            f"recordings; to repeat one task of an array of N, counted from 0: --shard {AUTO}/N"
        )
    step = (last - first) // max(1, count - 1) or 1
    place, rest = divmod(index - first, step)
    if rest or first + step * (count - 1) != last:
        raise InputError(
            f"--shard {AUTO}: the array has {count} tasks between {first} and {last} with unequal "
            f"gaps, so their places are not known; pass --shard {AUTO}/N, where N is the number of "
            "all shards and the array's numbers count from 0"
        )
    return Shard(place + 1, count)


def _number_in(env: Mapping[str, str], name: str) -> int:
    value = env.get(name, "")
    if not value.isdecimal():
        raise InputError(f"--shard {AUTO}: {name}={value!r}, expected a whole number")
    return int(value)
