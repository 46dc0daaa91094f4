from __future__ import annotations

import pytest

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.shards import Shard, shard_of


def slurm(index: int, count: int, first: int, last: int) -> dict[str, str]:
    numbers = dict(ID=index, COUNT=count, MIN=first, MAX=last)
    return {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()}


KUBERNETES = dict(JOB_COMPLETION_INDEX="0")


@pytest.mark.parametrize(
    ("text", "env", "shard"),
    [
        ("2/3", {}, Shard(2, 3)),
        ("auto", slurm(0, 4, 0, 3), Shard(1, 4)),
        ("auto", slurm(6, 4, 2, 8), Shard(3, 4)),  # sbatch --array=2-8:2
        ("auto", slurm(1, 1, 1, 1), Shard(1, 1)),
        ("auto/9", slurm(5, 1, 5, 5), Shard(6, 9)),  # one task of nine, sent again
        ("auto/4", KUBERNETES, Shard(1, 4)),
    ],
)
def test_a_shard_is_named_or_found_in_the_environment(text, env, shard):
    assert shard_of(text, env) == shard


@pytest.mark.parametrize(
    ("text", "env", "says"),
    [
        ("0/3", {}, "shard 0/3: expected a number from 1 to 3"),
        ("4/3", {}, "expected a number from 1 to 3"),
        ("2", {}, "expected I/N"),
        ("a/2", {}, "expected I/N"),
        ("auto", {}, "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set"),
        ("auto", KUBERNETES, "--shard auto/N"),
        ("auto/4", dict(JOB_COMPLETION_INDEX="4"), "shard 5/4"),
        ("auto", slurm(3, 3, 1, 7), "unequal gaps"),
        ("auto", slurm(3, 1, 3, 3), "the task 3 only"),
        ("auto", dict(SLURM_ARRAY_TASK_ID="1"), "SLURM_ARRAY_TASK_COUNT=''"),
    ],
)
def test_a_shard_that_is_not_clear_gets_a_sentence(text, env, says):
    with pytest.raises(InputError, match=says):
        shard_of(text, env)


@pytest.mark.parametrize("sizes", [[9, 8, 7, 3, 2, 2, 1], [0, 0, 0, 0], [5], []])
def test_shards_share_all_items_and_about_the_same_size(sizes):
    items = list(enumerate(sizes))
    parts = [Shard(number, 3).part_of(items, lambda item: item[1]) for number in (1, 2, 3)]
    assert sorted(item for part in parts for item in part) == items
    assert all(part == sorted(part) for part in parts)
    totals = [sum(size for _, size in part) for part in parts]
    assert max(totals) - min(totals) <= max(sizes, default=0)
    assert max(map(len, parts)) <= 3
