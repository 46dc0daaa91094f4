"""Run commands as jobs of a cluster, or as local processes, by the library submitit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.lazy import load
from etram_mmdet.utils.text import first_line

LOOK_S = 1.0  # seconds between two looks at the jobs
# submitit's own default is five minutes
USUAL = dict(timeout_min=24 * 60, stderr_to_stdout=True)


class Command:
    """A command as the function of a job; it is pickled, and called where the job runs.

    Args:
        words: program and arguments.
        env: environment variables that are added to those of the job. Default: none.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.words = list(words)
        self.env = dict(env or {})
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Run the command and return its exit status; its output is the job's."""
        self._process = subprocess.Popen(self.words, env={**os.environ, **self.env})
        try:
            return self._process.wait()
        finally:
            self.stop()

    def checkpoint(self) -> object:
        """End the command and ask for its job again: the time is over, or others go before it."""
        self.stop()
        return load("submitit.helpers", "submitit").DelayedSubmission(self)

    def stop(self) -> None:
        """Ask the command to end, and wait until it has."""
        if self._process is not None and self._process.returncode is None:
            # submitit stops a job in a signal handler, in the middle of `wait` above, whose lock
            # neither `poll` nor a second `wait` would get
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGTERM)
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def __getstate__(self) -> dict:
        return self.__dict__ | dict(_process=None)


class Jobs:
    """Commands that are run as jobs; use it with ``with``, which cancels them after an error.

    Args:
        folder: folder for the jobs' logs and submitit's files.
        name: name of the jobs in the queue.
        at_once: number of jobs that may run at the same time. With Slurm all are handed over at
            once as one array, which keeps to this number.
        options: ``cluster`` (``slurm`` or ``local``; without it submitit's choice) and parameters
            of submitit's ``AutoExecutor``.

    Raises:
        InputError: submitit is missing, or does not know an option.
    """

    def __init__(self, folder: Path, name: str, at_once: int, options: Mapping) -> None:
        submitit = load("submitit", "submitit")
        parameters = dict(USUAL, name=name) | dict(options)
        cluster = parameters.pop("cluster", None)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
            if self.is_array:
                parameters = dict(slurm_array_parallelism=at_once) | parameters
            self._executor.update_parameters(**parameters)
        except (ValueError, NameError, AssertionError, TypeError, RuntimeError) as error:
            raise InputError(
                f"submitit: {first_line(error)}; see --submitit-options in --help"
            ) from error
        self._at_once = at_once
        gpus = parameters.get("gpus_per_node")
        self._gpus_per_job = 1 if gpus is None else gpus
        if self._gpus_per_job < 0:
            raise InputError(f"--submitit-options gpus_per_node={gpus}: expected 0 or more")
        self._running: dict[str, object] = {}
        # what is free of the environments of local jobs that may run at the same time
        self._places: list[dict[str, str]] = [{}] * at_once
        self._place_of: dict[str, dict[str, str]] = {}

    @property
    def is_array(self) -> bool:
        """Whether the jobs are one array of Slurm."""
        return self._executor.cluster == "slurm"

    @property
    def share_of_cores(self) -> dict[str, str]:
        """Environment by which local jobs that run at the same time share the cores."""
        threads = max(1, len(os.sched_getaffinity(0)) // self._at_once)
        return dict(OMP_NUM_THREADS=str(threads))

    def share_gpus(self, gpus: Sequence[str]) -> None:
        """Give each local job GPUs of its own; Slurm does so by itself.

        Args:
            gpus: the GPUs of this machine as CUDA_VISIBLE_DEVICES names them.

        Raises:
            InputError: the jobs that run at the same time need more GPUs.
        """
        each = self._gpus_per_job
        if self.is_array or not each or not gpus:
            return
        if self._at_once * each > len(gpus):
            raise InputError(
                f"--submitit {self._at_once}: as many local jobs at the same time need {each} GPUs "
                f"each, but this machine has {len(gpus)} ({', '.join(gpus)}); pass --submitit "
                f"{max(1, len(gpus) // each)}, or gpus_per_node=0 to train on the CPU"
            )
        starts = range(0, self._at_once * each, each)
        self._places = [dict(CUDA_VISIBLE_DEVICES=",".join(gpus[i : i + each])) for i in starts]

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *error: object) -> None:
        running = list(self._running.values())  # none, unless an exception ends the block
        for job in running:  # all at once, since to wait for one may take a minute
            with suppress(Exception):
                job.cancel()
        for job in running:
            with suppress(Exception):
                job.wait()

    def run(
        self, commands: Mapping[str, Command], look: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[str, int | None, Path]]:
        """Each job as it ends: its name, the exit status of its command, and its log.

        The status is None for a job that ended before its command did.

        Args:
            commands: command of each job, by the job's name.
            look: called once a second while jobs run. Default: nothing.
        """
        waiting = dict(commands)
        while waiting or self._running:
            self._submit(waiting)
            for name, job in list(self._running.items()):
                if job.done():
                    del self._running[name]
                    self._places.append(self._place_of.pop(name, {}))
                    yield name, _status(job), Path(job.paths.stdout)
            look()
            if self._running:
                time.sleep(LOOK_S)

    def _submit(self, waiting: dict[str, Command]) -> None:
        room = len(waiting) if self.is_array else self._at_once - len(self._running)
        names = list(waiting)[:room]
        if names:
            try:
                with self._executor.batch():
                    jobs = [self._executor.submit(self._placed(name, waiting)) for name in names]
            except RuntimeError as error:  # submitit's FailedJobError
                raise InputError(
                    f"the jobs were not taken: {first_line(error)}; check --submitit-options"
                ) from error
            self._running |= dict(zip(names, jobs, strict=True))

    def _placed(self, name: str, waiting: dict[str, Command]) -> Command:
        """Take a command that waits; a local one gets a place of its own."""
        command = waiting.pop(name)
        if self.is_array:
            return command
        self._place_of[name] = self._places.pop(0)
        return Command(command.words, command.env | self._place_of[name])


def _status(job: object) -> int | None:
    try:
        return job.result()
    except Exception:  # submitit raises several; the log holds the reason
        return None


def last_line(log: Path) -> str:
    """Last line of a log that is not empty and not submitit's own; an empty text without one.

    Args:
        log: path of the log.
    """
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    told = (line.strip() for line in reversed(lines) if not line.startswith("submitit "))
    return next(filter(None, told), "")
