"""Arrays that a started process maps instead of getting a copy."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

from etram_mmdet.utils.shared_arrays import SharedArrays, share

LARGE = 20_000


def made() -> dict[str, SharedArrays]:
    arrays = dict(
        small=SharedArrays(dict(a=np.arange(3), none=np.empty((0, 4), np.float32))),
        large=SharedArrays(dict(b=np.arange(LARGE), c=np.eye(3, dtype=np.int8))),
    )
    share(arrays.values())
    return arrays


def answer(arrays: dict[str, SharedArrays], pipe) -> None:
    while name := pipe.recv():
        owner, name = name
        pipe.send(arrays[owner][name])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_started_process_sees_the_same_memory(method):
    """A change after its start is seen there."""
    arrays = made()
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(arrays, theirs))
    process.start()
    ours.send(("small", "none"))
    assert ours.recv().shape == (0, 4)
    owner = arrays["large"]
    owner._memory.view(owner._places["b"], writable=True)[7] = -5
    ours.send(("large", "b"))
    seen = ours.recv()
    ours.send(None)
    process.join()
    assert seen[7] == -5 == owner["b"][7] and seen.sum() == np.arange(LARGE).sum() - 12


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_elsewhere_it_is_a_copy(copied):
    arrays = made()["large"]
    other = copied(arrays)
    assert {name: array.tolist() for name, array in other.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    assert other["c"].dtype == np.int8 and not np.shares_memory(other["b"], arrays["b"])


def test_values_stay_and_can_only_be_read():
    before = np.random.default_rng(0).random((LARGE, 3)).astype(np.float32)
    arrays = SharedArrays(dict(a=before, b=np.array([2, 1], np.uint16)))
    share([arrays])
    memory = arrays._memory
    share([arrays])
    assert arrays._memory is memory
    assert arrays["a"].tobytes() == before.tobytes() and arrays["b"].tolist() == [2, 1]
    with pytest.raises(ValueError, match="read-only"):
        arrays["a"][0] = 0
