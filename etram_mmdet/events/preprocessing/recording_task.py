"""Find a preprocessed recording, or make it unless another process is making it."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.preprocessing.checksums import check_files
from etram_mmdet.events.preprocessing.label_classes import as_asked
from etram_mmdet.events.preprocessing.labelled_frames import NoBoxLeft
from etram_mmdet.events.preprocessing.recording import preprocess_recording
from etram_mmdet.events.preprocessing.sequence_folder import (
    claim_of,
    folder_id,
    read_manifest,
    remove_work_folders,
    write_manifest,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.source_changes import (
    changed_labels,
    is_other_recording,
    with_time_of,
)
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.preprocessing.summary import Outcome
from etram_mmdet.events.representations import stated_options
from etram_mmdet.utils.claims import read_holder, try_claim
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.machine_errors import sentence_of

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
        return self.source.full_name


def process(task: Task) -> Outcome:
    """Find or make a recording; whatever goes wrong becomes a problem of its own.

    Args:
        task: the recording, its folder and the settings that are asked for.
    """
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
