"""End all processes (ranks) of a distributed training when one is killed or frozen, and name it.

PyTorch leaves them waiting in a collective operation until its timeout, which has to be long:
evaluation on rank 0 is a wait for the others as well. So each rank tells the others from a thread
of its own that it runs, however long loading or evaluating takes, and reads their messages.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from mmengine.config import Config
from torch import distributed
from torch.distributed import TCPStore

from etram_mmdet.utils.claims import Holder
from etram_mmdet.utils.errors import PassingError

# seconds without a sign of life; some evaluations keep all threads of a process still for a while
RANK_TIMEOUT_S = 300.0
BEAT_S = 1.0
_PATIENCE = 5  # beats between the error of a collective operation and the verdict on it
_AGAIN = "Run the same command again; a training goes on with --resume"
# words in errors of collective operations
_COLLECTIVE = ("gloo", "nccl", "c10d", "process group", "processgroup")


class RankWatch:
    """Tells the other ranks that this one runs, and ends this process if one of them is silent.

    Silence is counted in beats of this process and not by the clock, so that the time in which a
    machine sleeps does not count.

    Args:
        host: address of the ranks' store, as in ``MASTER_ADDR``.
        port: port of the ranks' store, as in ``MASTER_PORT``.
        rank: number of this process.
        ranks: number of all processes.
        timeout_s: silence of another rank, in seconds, after which this process ends.
        prefix: distinguishes these ranks from those that a launcher started before on the same
            store. Default: none.
    """

    def __init__(
        self, host: str, port: int, rank: int, ranks: int, timeout_s: float, prefix: str = ""
    ) -> None:
        self.rank = rank
        self.timeout_s = timeout_s
        self.before_end: Callable[[], None] | None = None
        self._place = f"{host}:{port}"
        self._prefix = f"etram_mmdet/{prefix}"
        self._store = TCPStore(
            host, port, None, False, timedelta(seconds=timeout_s), wait_for_workers=False
        )
        self._beats = dict.fromkeys(set(range(ranks)) - {rank}, 0)
        self._idle = dict.fromkeys(self._beats, False)
        self._holders: dict[int, Holder] = {}
        self._silent = dict.fromkeys(self._beats, 0)
        self._looks = 0
        self._without_store = 0
        self._is_over = threading.Event()

    def start(self) -> None:
        self._store.set(self._key("holder", self.rank), json.dumps(asdict(Holder.here())))
        for work in (self._talk, self._judge):
            threading.Thread(target=work, daemon=True, name="rank watch").start()

    def stop(self) -> None:
        """Mark this rank as finished, so that no other rank waits for it."""
        self._is_over.set()
        with suppress(RuntimeError):  # the process that holds the store may have ended first
            self._store.add(self._key("idle", self.rank), 1)

    def explain(self, error: Exception) -> None:
        """Turn an error of a collective operation into ``PassingError``, or end the process."""
        time.sleep(_PATIENCE * BEAT_S)
        lost = [
            rank
            for rank, beats in self._silent.items()
            if beats >= _PATIENCE - 1 and not self._idle[rank]
        ]
        if lost:
            who = " and ".join(
                map(self._name, [0] if self._without_store >= _PATIENCE - 1 else lost)
            )
            raise PassingError(
                f"{who} stopped answering; its own output may say why. {_AGAIN}"
            ) from error
        standing = "; ".join(
            f"{self._name(rank)} is at {self._where(rank)}" for rank in self._beats
        )
        raise PassingError(
            "all ranks run, but an operation between them failed "
            f"({str(error).splitlines()[0]:.150}): {standing}. If a rank is only slow, raise "
            f"env_cfg.dist_cfg.timeout, in seconds. {_AGAIN}"
        ) from error

    def _key(self, what: str, rank: int) -> str:
        return f"{self._prefix}/{what}/{rank}"

    def _talk(self) -> None:
        while not self._is_over.is_set():
            try:
                self._store.add(self._key("beat", self.rank), 1)
                self._store.set(self._key("where", self.rank), _place_of_main_thread())
                for rank in self._beats:
                    self._read(rank)
                self._looks += 1
            except RuntimeError:  # of a store that is gone, whose silence counts
                return
            self._is_over.wait(BEAT_S)

    def _read(self, rank: int) -> None:
        self._idle[rank] = bool(self._store.add(self._key("idle", rank), 0))
        self._beats[rank] = self._store.add(self._key("beat", rank), 0)
        if self._beats[rank] and rank not in self._holders:
            self._holders[rank] = Holder(**json.loads(self._store.get(self._key("holder", rank))))

    def _judge(self) -> None:
        seen = dict(self._beats)
        looks = self._looks
        while not self._is_over.wait(BEAT_S):
            self._without_store = self._without_store + 1 if looks == self._looks else 0
            looks = self._looks
            for rank, beats in self._beats.items():
                self._silent[rank] = self._silent[rank] + 1 if beats == seen[rank] else 0
                seen[rank] = beats
                if (
                    rank in self._holders
                    and self._holders[rank].has_ended()
                    and self._silent[rank] > 1
                ):
                    self._end_without(rank, "has ended; its own output may say why")
            too_long = self.timeout_s / BEAT_S
            said = f"gave no sign of life for {self.timeout_s:g} s (env_cfg.rank_timeout_s)"
            if self._without_store >= too_long:
                self._end_without(
                    0,
                    f"or the launcher, which keeps the store of all ranks at {self._place}, {said}",
                )
            for rank in [rank for rank, beats in self._silent.items() if beats >= too_long]:
                self._end_without(rank, said)

    def _end_without(self, rank: int, why: str) -> None:
        """End the whole process, whose main thread may hang in a collective operation for good."""
        if self._is_over.is_set() or self._idle.get(rank):
            return
        sentence = f"error: {self._name(rank)} {why}. So rank {self.rank} ends, too. {_AGAIN}"
        print(sentence, file=sys.stderr, flush=True)
        if self.before_end is not None:
            self.before_end()
        os._exit(1)

    def _name(self, rank: int) -> str:
        holder = self._holders.get(rank)
        return f"rank {rank} (process {holder.pid} on {holder.host})" if holder else f"rank {rank}"

    def _where(self, rank: int) -> str:
        try:
            return self._store.get(self._key("where", rank)).decode()
        except RuntimeError:
            return "an unknown place"


def _place_of_main_thread() -> str:
    """File, line and function, such as ``dataloader.py:1244 (_try_get_data)``."""
    frame = sys._current_frames().get(threading.main_thread().ident)
    code = frame and frame.f_code
    return f"{Path(code.co_filename).name}:{frame.f_lineno} ({code.co_name})" if code else "its end"


_watch: RankWatch | None = None


def watch_ranks(cfg: Config) -> None:
    """Begin to watch the other ranks of this process, if there are any.

    Args:
        cfg: the config; ``env_cfg.rank_timeout_s`` is the silence in seconds. Default:
            `RANK_TIMEOUT_S`.
    """
    global _watch
    if _watch is None and distributed.is_initialized() and distributed.get_world_size() > 1:
        _watch = RankWatch(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            distributed.get_rank(),
            distributed.get_world_size(),
            (cfg.get("env_cfg") or {}).get("rank_timeout_s") or RANK_TIMEOUT_S,
            prefix=os.environ.get("TORCHELASTIC_RESTART_COUNT", ""),
        )
        _watch.start()


def is_collective(error: BaseException) -> bool:
    """Whether an error comes from an operation of several ranks.

    The usual cause is that another rank has ended.

    Args:
        error: the error.
    """
    says_so = any(word in str(error).lower() for word in _COLLECTIVE)
    return _watch is not None and isinstance(error, RuntimeError) and says_so


@contextmanager
def watched(before_end: Callable[[], None] | None = None) -> Iterator[None]:
    """Turn an error of a collective operation in this block into a sentence that names the rank.

    Args:
        before_end: called before this process ends because of another rank. Default: nothing.

    Raises:
        PassingError: instead of that error.
    """
    if _watch is not None:
        _watch.before_end = before_end
    try:
        yield
    except RuntimeError as error:
        if is_collective(error):
            _watch.explain(error)
        raise
    except (SystemExit, KeyboardInterrupt):  # this rank ends by its own decision
        stop_watching()
        raise


def stop_watching() -> None:
    """Stop watching the other ranks, and tell them that this one ends."""
    if _watch is not None:
        _watch.stop()


def leave_ranks() -> None:
    """End the work with the other ranks, if there are any, after all common work."""
    stop_watching()
    if distributed.is_initialized():
        distributed.destroy_process_group()
