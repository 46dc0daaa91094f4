"""One summary over all shards of a preprocessing, also while they work."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.events.choices import LabelFiles
from etram_mmdet.events.preprocessing.recording_task import Task, made_as_asked
from etram_mmdet.events.preprocessing.sequence_folder import claim_of, folder_time_s
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.shard_reports import (
    ReadReport,
    newest_entry,
    read_reports,
    told_of_shards,
)
from etram_mmdet.events.preprocessing.sources import missing_splits, sources_by_size
from etram_mmdet.events.preprocessing.summary import Outcome, PreprocessSummary, nothing_left
from etram_mmdet.utils.claims import is_stale, read_holder
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import shortened


def summary_of_shards(
    src: str | Path,
    dst: str | Path,
    settings: PreprocessSettings | None = None,
    *,
    labels: LabelFiles = "auto",
) -> PreprocessSummary:
    """One summary of what all shards have done so far; makes nothing.

    Folders are not checked for damage, which running :func:`preprocess_folder` again does.

    Args:
        src: dataset folder, see :func:`find_sources`.
        dst: folder of the sequence folders.
        settings: how recordings become frames. Default: the settings of RVT.
        labels: which label files of eTraM's download are read. Default: ``"auto"``.

    Raises:
        InputError: when the folder holds no recording with labels.
    """
    src = Path(src)
    dst = Path(dst)
    sources, problems = sources_by_size(src, labels)
    settings = settings or PreprocessSettings()
    reports = read_reports(dst)
    outcomes = []
    for source in sorted(sources, key=lambda source: source.full_name):
        task = Task(source, dst / source.split / source.name, settings, False, None)
        outcomes.append(_found(task, reports))
    problems += [outcome.problem for outcome in outcomes if outcome.problem]
    if not problems and all(outcome.left_out for outcome in outcomes):
        problems = [nothing_left(src, settings)]
    unfinished = told_of_shards(reports) + _told_of_unfinished(outcomes)
    return PreprocessSummary(outcomes, problems, missing_splits(src, sources), unfinished)


def _found(task: Task, reports: list[ReadReport]) -> Outcome:
    """What became of a recording, by its folder, by the newest report of it, or by its claim."""
    said = newest_entry(reports, task.name)
    made_s = folder_time_s(task.folder)
    if made_s is not None and (said is None or not said.problem or made_s > said.time_s):
        try:
            return Outcome(task.name, made_as_asked(task), is_new=bool(said and said.is_new))
        except InputError as error:
            return Outcome(task.name, problem=str(error))
    if said is not None and (said.problem or said.left_out):
        return Outcome(task.name, problem=said.problem, left_out=said.left_out)
    claim = claim_of(task.folder)
    holder = read_holder(claim) if claim.exists() and not is_stale(claim) else None
    return Outcome(task.name, maker=str(holder) if holder else None)


def _told_of_unfinished(outcomes: list[Outcome]) -> list[str]:
    making = [f"{o.name} by {o.maker}" for o in outcomes if o.maker]
    missing = [
        o.name for o in outcomes if o.manifest is None and not (o.problem or o.left_out or o.maker)
    ]
    lines = [f"at work on {len(making)} recordings: {', '.join(making)}"] if making else []
    if missing:
        lines.append(
            f"MISSING {len(missing)} of {len(outcomes)} recordings: {shortened(missing)}; start "
            "the shards again that have not ended, or all of them: finished recordings are kept"
        )
    return lines
