"""Restarts of torchrun: those that would repeat an error end at once."""

from __future__ import annotations

import errno
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from etram_mmdet.utils.claims import ClaimedError
from etram_mmdet.utils.errors import InputError, PassingError
from etram_mmdet.utils.restarts import ends_for_good, may_pass


@pytest.fixture
def env():
    """Environment of the first process of torchrun, which keeps a store for its processes."""
    store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=10))
    yield dict(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(store.port),
        LOCAL_RANK="0",
        TORCHELASTIC_USE_AGENT_STORE="True",
        TORCHELASTIC_MAX_RESTARTS="3",
        TORCHELASTIC_RESTART_COUNT="0",
    )
    del store


def fail(error, env):
    with ends_for_good(env):
        raise error


def test_an_error_that_comes_again_ends_all_later_starts(env):
    """It is said once on each machine: each start is of another process."""
    with pytest.raises(InputError, match=r"^no such config$"):
        fail(InputError("no such config"), env)
    again = env | dict(TORCHELASTIC_RESTART_COUNT="1")
    with pytest.raises(InputError, match=r"nothing more is tried. The error was: no such config"):
        fail(AssertionError("it was started"), again)
    for silent in (dict(LOCAL_RANK="1"), dict(TORCHELASTIC_RESTART_COUNT="2")):
        with pytest.raises(SystemExit) as ended:
            fail(AssertionError("it was started"), again | silent)
        assert ended.value.code == 1


@pytest.mark.parametrize("error", [PassingError("rank 1 has ended"), ClaimedError("at work")])
def test_a_training_is_started_again_after_an_error_that_may_pass(env, error):
    with pytest.raises(PassingError):
        fail(error, env)
    with ends_for_good(env | dict(TORCHELASTIC_RESTART_COUNT="1")):
        pass


def test_a_full_disk_may_pass_and_a_missing_file_does_not():
    for number, expected in ((errno.ENOSPC, True), (errno.ESTALE, True), (errno.ENOENT, False)):
        error = InputError("a.pth: cannot be written")
        error.__cause__ = OSError(number, "said by the system")
        assert may_pass(error) is expected


def test_processes_of_a_torchrun_that_has_ended_do_not_wait_for_it(env, monkeypatch):
    monkeypatch.setattr("etram_mmdet.utils.restarts._REACH_S", 0.2)
    gone = env | dict(MASTER_PORT="1", TORCHELASTIC_RESTART_COUNT="1")
    with pytest.raises(PassingError, match="torchrun of machine 0 has ended: nothing answers"):
        fail(AssertionError("it was started"), gone)


def test_without_restarts_nothing_is_noted(env):
    with pytest.raises(InputError, match=r"^wrong$"):
        fail(InputError("wrong"), env | dict(TORCHELASTIC_MAX_RESTARTS="0", MASTER_PORT="1"))
