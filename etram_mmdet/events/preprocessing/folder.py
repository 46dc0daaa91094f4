"""Preprocess all recordings of a dataset folder in parallel; a stopped run can be restarted.

Any number of processes may work on one folder, on any number of machines that share it: the process
that makes a recording holds a lock file for it.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.choices import SPLITS, LabelFiles
from etram_mmdet.events.preprocessing.checksums import check_files
from etram_mmdet.events.preprocessing.label_classes import as_asked
from etram_mmdet.events.preprocessing.labelled_frames import NoBoxLeft
from etram_mmdet.events.preprocessing.recording import preprocess_recording
from etram_mmdet.events.preprocessing.sequence_folder import (
    claim_of,
    folder_id,
    read_manifest,
    remove_unfinished,
    remove_work_folders,
    write_manifest,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.shard_reports import (
    ShardReport,
)
from etram_mmdet.events.preprocessing.source_changes import (
    changed_labels,
    is_other_recording,
    with_time_of,
)
from etram_mmdet.events.preprocessing.sources import Source, find_sources
from etram_mmdet.events.preprocessing.summary import Outcome, PreprocessSummary
from etram_mmdet.events.representations import stated_options
from etram_mmdet.utils.claims import read_holder, try_claim
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.machine_errors import sentence_of
from etram_mmdet.utils.shards import Shard
from etram_mmdet.utils.workers import WorkerDied, Workers

Progress = Callable[..., Iterable]
LOOK_S = 2.0  # longest time between two looks at recordings that other processes make
_FIRST_LOOK_S = 0.1  # the first one comes early: two processes often end at about the same time
_OTHERWISE = "choose another OUT or pass --overwrite"


class Task(NamedTuple):
    """One recording to preprocess.

    Attributes:
        source: the recording and its labels.
        folder: sequence folder to make.
        settings: settings of the preprocessing.
        keep_implausible: whether labels that do not seem to fit are kept.
        replaces: :func:`folder_id` of a folder that is made again, whatever it holds; ``None`` for
            none.
    """

    source: Source
    folder: Path
    settings: PreprocessSettings
    keep_implausible: bool
    replaces: int | None

    @property
    def name(self) -> str:
        return name_of(self.source)


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
        sources = shard.part_of(sources, size_of)
        report = ShardReport(dst, shard, [name_of(source) for source in sources])
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


def sources_by_size(src: Path, labels: LabelFiles) -> tuple[list[Source], list[str]]:
    """Recordings of a dataset folder, and problems.

    The largest come first, so that no long one is left over for one worker at the end.

    Args:
        src: the dataset folder.
        labels: see :func:`find_sources`.

    Raises:
        InputError: when the folder holds no recording with labels.
    """
    sources, problems = find_sources(src, labels)
    return sorted(sources, key=lambda s: (-size_of(s), s.split, s.name)), problems


def size_of(source: Source) -> int:
    """Bytes of a recording's file, by which the work is divided.

    Args:
        source: the recording and its labels.
    """
    return source.events.stat().st_size


def name_of(source: Source) -> str:
    """Name of a recording, as ``SPLIT/NAME``.

    Args:
        source: the recording and its labels.
    """
    return f"{source.split}/{source.name}"


def nothing_left(src: Path, settings: PreprocessSettings) -> str:
    """Sentence for a dataset folder from which RVT's rules leave out every recording.

    Args:
        src: the dataset folder.
        settings: how recordings become frames.
    """
    return (
        f"{src}: the filters of --preset {settings.preset} leave no box in any recording; "
        "choose another preset"
    )


def missing_splits(src: Path, sources: list[Source]) -> list[str]:
    """One sentence about the splits without recordings, if there are any.

    Args:
        src: the dataset folder.
        sources: its recordings.
    """
    missing = [split for split in SPLITS if split not in {source.split for source in sources}]
    return [f"{src}: no recordings for {' and '.join(missing)}"] if missing else []


def _outcomes(pool: Workers, tasks: list[Task], tell: Callable[[str], None]) -> Iterator[Outcome]:
    """Yield one outcome per task; recordings that other processes make come last."""
    told = None
    look_s = _FIRST_LOOK_S
    while tasks:
        waiting = []
        for task, result in pool.run(_process, tasks):
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


def _process(task: Task) -> Outcome:
    try:
        return _find_or_make(task)
    except NoBoxLeft as error:
        is_usual = task.settings.rules.may_have_no_box
        return Outcome(task.name, **{"left_out" if is_usual else "problem": str(error)})
    except InputError as error:
        return Outcome(task.name, problem=str(error))
    except OSError as error:
        advice = "check free space and permissions in OUT, then run the same command again"
        return Outcome(
            task.name, problem=f"{task.name}: {sentence_of(error) or f'{error}; {advice}'}"
        )
    except Exception:
        # One recording must not end the run of the others, but a fault in our code has to show its
        # place.
        return Outcome(
            task.name,
            problem=f"{task.name}: unexpected error, please report it\n{traceback.format_exc()}",
        )


def _find_or_make(task: Task) -> Outcome:
    found = _look(task)
    if found.manifest is not None:
        return found
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    claim = try_claim(claim_of(task.folder))
    if claim is None:
        return Outcome(
            task.name, maker=str(read_holder(claim_of(task.folder)) or "another process")
        )
    try:
        found = _look(task)  # again: another process may have finished it just before
        return found if found.manifest is not None else _make(task, found)
    except Exception:
        if claim.is_held() or not task.folder.parent.is_dir():
            raise
        # This process stood still for so long that another took over its lock and removed its work.
        return Outcome(task.name, maker="another process")
    finally:
        claim.release()


def _make(task: Task, found: Outcome) -> Outcome:
    remove_work_folders(task.folder)
    try:
        manifest = preprocess_recording(
            task.source, task.folder, task.settings, task.keep_implausible
        )
    except InputError as error:
        if not found.changed:
            raise
        raise InputError(
            f"{error}. {task.folder} was kept and still holds the old labels"
        ) from error
    return found._replace(manifest=manifest, is_new=True)


def _look(task: Task) -> Outcome:
    """Outcome for the finished folder; without a manifest if the folder has to be made.

    Raises:
        InputError: when the folder may not be replaced, or is damaged.
    """
    current = folder_id(task.folder)
    if current is None or current == task.replaces:
        return Outcome(task.name)
    manifest = made_as_asked(task)
    changed = changed_labels(task.source, manifest)
    if changed:
        return Outcome(task.name, changed=tuple(changed))
    check_files(task.folder, manifest)
    renewed = with_time_of(task.source, as_asked(manifest, task.settings, task.source))
    if renewed != manifest:
        with suppress(InputError):  # the folder is read-only
            write_manifest(task.folder, renewed)
    return Outcome(task.name, renewed)


def made_as_asked(task: Task) -> dict:
    """Manifest of a finished folder.

    Args:
        task: the recording, its folder and the settings that are asked for.

    Raises:
        InputError: when the folder has other settings or was made from another recording.
    """
    try:
        manifest = read_manifest(task.folder)
    except InputError as error:
        raise InputError(f"{error}; {_OTHERWISE}") from error
    wanted = json.loads(json.dumps(asdict(task.settings)))  # as the manifest holds it
    wanted["label_files"] = task.source.label_files
    # Defaults for settings that an older version did not write.
    made = {**asdict(PreprocessSettings()), "label_files": task.source.label_files}
    made |= as_asked(manifest, task.settings, task.source)
    made["representation"] = stated_options(made["representation"], is_old=True)
    for key, value in wanted.items():
        if made.get(key) != value:
            raise InputError(
                f"{task.folder}: was made with {key} = {made.get(key)}, but {value} is requested "
                f"now; {_OTHERWISE}"
            )
    if is_other_recording(task.source, manifest):
        raise InputError(
            f"{task.folder}: was made from another recording than {task.source.events}, or this "
            f"one has changed; {_OTHERWISE}"
        )
    return manifest
