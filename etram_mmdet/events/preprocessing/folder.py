"""Preprocess all recordings of a dataset folder in parallel; a stopped run can be restarted.

Any number of processes may work on one folder, on any number of machines that share it: the process
that makes a recording holds a lock file for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from etram_mmdet.events.choices import LabelFiles
from etram_mmdet.events.preprocessing.recording_task import Task, process
from etram_mmdet.events.preprocessing.sequence_folder import folder_id, remove_unfinished
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.shard_reports import ShardReport
from etram_mmdet.events.preprocessing.sources import missing_splits, sources_by_size
from etram_mmdet.events.preprocessing.summary import Outcome, PreprocessSummary, nothing_left
from etram_mmdet.utils.shards import Shard
from etram_mmdet.utils.workers import WorkerDied, Workers

Progress = Callable[..., Iterable]
LOOK_S = 2.0  # longest time between two looks at recordings that other processes make
_FIRST_LOOK_S = 0.1  # the first one comes early: two processes often end at about the same time


def preprocess_folder(
    src: str | Path,
    dst: str | Path,
    settings: PreprocessSettings | None = None,
    workers: int = 0,
    *,
    labels: LabelFiles = "auto",
    overwrite: bool = False,
    keep_implausible: bool = False,
    progress: Progress = lambda outcomes, total: outcomes,
    tell: Callable[[str], None] = lambda sentence: None,
    shard: Shard | None = None,
) -> PreprocessSummary:
    """Preprocess the recordings of a dataset folder into sequence folders ``dst/SPLIT/NAME``.

    A recording that cannot be used becomes a problem in the summary, and the others go on. So does
    a recording whose labels do not seem to fit its events (see ``plausibility``), unless
    ``keep_implausible`` is set. A recording that was finished with the same settings is left alone,
    or preprocessed again if its labels changed. The function waits for recordings that other
    processes preprocess, and takes them over if such a process ends early.

    Args:
        src: dataset folder, see :func:`find_sources`.
        dst: folder for the sequence folders.
        settings: how recordings become frames. Default: the settings of RVT.
        workers: number of processes, each with a recording of its own. Default: 0, in this process.
        labels: which label files of eTraM's download are read, see :func:`find_sources`. Default:
            ``"auto"``.
        overwrite: whether to preprocess recordings again whose folder exists now. Folders that
            another process finishes later are kept, so that several processes with this option
            share the work. Default: False.
        keep_implausible: whether to keep recordings whose labels do not seem to fit. Default:
            False.
        progress: ``progress(outcomes, total=n)`` may wrap the iteration in a progress bar. Default:
            none.
        tell: function that is called with a sentence when recordings are waited for. Default:
            silent.
        shard: part of the recordings that this process works on; the same ``shard.count`` and
            settings are expected in all of them. ``shard_summary`` tells about all parts.
            Default: all recordings.

    Raises:
        InputError: when the folder holds no recording with labels.
    """
    src = Path(src)
    dst = Path(dst)
    sources, problems = sources_by_size(src, labels)
    notes = missing_splits(src, sources)
    report = None
    if shard is not None:
        sources = shard.part_of(sources, lambda source: source.num_bytes)
        report = ShardReport(dst, shard, [source.full_name for source in sources])
        problems = problems if shard.number == 1 else []  # one shard tells of unpaired files
    remove_unfinished(dst)
    settings = settings or PreprocessSettings()
    folders = [dst / source.split / source.name for source in sources]
    tasks = [
        Task(source, folder, settings, keep_implausible, folder_id(folder) if overwrite else None)
        for source, folder in zip(sources, folders, strict=True)
    ]
    try:
        with Workers(min(workers, len(tasks))) as pool:
            made = _outcomes(pool, tasks, tell)
            made = report.of(made) if report else made
            outcomes = sorted(progress(made, total=len(tasks)), key=lambda o: o.name)
    finally:
        remove_unfinished(dst)
    problems += [outcome.problem for outcome in outcomes if outcome.problem]
    if not problems and shard is None and all(outcome.left_out for outcome in outcomes):
        problems = [nothing_left(src, settings)]
    return PreprocessSummary(outcomes, problems, notes)


def _outcomes(pool: Workers, tasks: list[Task], tell: Callable[[str], None]) -> Iterator[Outcome]:
    """Yield one outcome per task; recordings that other processes make come last."""
    told = None
    look_s = _FIRST_LOOK_S
    while tasks:
        waiting = []
        for task, result in pool.run(process, tasks):
            outcome = _died(task) if isinstance(result, WorkerDied) else result
            if outcome.maker is None:
                yield outcome
            else:
                waiting.append((task, f"{task.name} by {outcome.maker}"))
        tasks = [task for task, _ in waiting]
        if tasks:
            listed = ", ".join(sorted(made for _, made in waiting))
            sentence = f"waiting for recordings that other processes preprocess: {listed}"
            if sentence != told:
                tell(sentence)
            told = sentence
            time.sleep(min(look_s, LOOK_S))
            look_s *= 2


def _died(task: Task) -> Outcome:
    reason = (
        "not finished: a worker process was killed, perhaps because memory ran out; "
        "run again with fewer --workers"
    )
    return Outcome(task.name, problem=f"{task.name}: {reason}")
