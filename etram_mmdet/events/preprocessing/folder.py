"""Preprocess every recording of a dataset folder in parallel, restartable, with a summary of what happened."""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.choices import LabelFiles
from etram_mmdet.events.preprocessing.plausibility import differing_rates
from etram_mmdet.events.preprocessing.recording import preprocess_recording
from etram_mmdet.events.preprocessing.sequence_folder import read_manifest, remove_unfinished
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source, find_sources
from etram_mmdet.events.representations import stated_options
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.machine_errors import sentence_of

Progress = Callable[..., Iterable]


class Outcome(NamedTuple):
    """What became of one recording: a manifest (``is_new`` or found finished), or a problem."""

    name: str
    manifest: dict | None = None
    is_new: bool = False
    problem: str | None = None


@dataclass
class PreprocessSummary:
    """What became of all recordings; ``str()`` of it is what the user reads."""

    outcomes: list[Outcome]
    problems: list[str] = field(default_factory=list)

    @property
    def manifests(self) -> list[dict]:
        """The manifests of all finished recordings, in the order of their names."""
        return [outcome.manifest for outcome in self.outcomes if outcome.manifest is not None]

    @property
    def dropped(self) -> Counter:
        """Everything dropped, by rule, over all finished recordings."""
        return sum((Counter(manifest["dropped"]) for manifest in self.manifests), Counter())

    def __str__(self) -> str:
        num_new = sum(outcome.is_new for outcome in self.outcomes)
        rules = Counter(manifest["frame_rule"] for manifest in self.manifests)
        corrected = sum(manifest["stamps_corrected"] for manifest in self.manifests)
        lines = [
            f"{num_new} recordings preprocessed, {len(self.manifests) - num_new} were finished before, "
            f"{len(self.problems)} problems",
            f"frames: {self._total('num_frames')}, representations: {self._total('num_representations')}, "
            f"events: {self._total('num_events')}, frame rule: {_listed(rules)}",
            f"dropped: {_listed(self.dropped)}; time stamps corrected: {corrected}",
        ]
        cut = sum(manifest.get("boxes_cut", 0) for manifest in self.manifests)
        if cut:
            lines.append(f"boxes cut to the sensor: {cut}")
        empty = sum(manifest["frames_without_events"] for manifest in self.manifests)
        if empty:
            lines.append(f"frames without a single event in their window: {empty} (labels beyond the recording?)")
        assumed = [
            f"{manifest['width']}x{manifest['height']} for {manifest['split']}/{manifest['recording']}"
            for manifest in self.manifests
            if manifest["sensor_size_is_assumed"]
        ]
        if assumed:
            lines.append(f"sensor size not in the file, taken as {', '.join(assumed)}")
        rates = differing_rates((f"{m['split']}/{m['recording']}", m.get("frames_per_s")) for m in self.manifests)
        lines += [f"WARNING {rates}"] if rates else []
        for manifest in self.manifests:
            name = f"{manifest['split']}/{manifest['recording']}"
            lines += [f"kept although implausible: {name}: {doubt}" for doubt in manifest.get("implausible", [])]
        return "\n".join(lines + [f"PROBLEM {problem}" for problem in self.problems])

    def _total(self, key: str) -> int:
        return sum(manifest[key] for manifest in self.manifests)


def _listed(counts: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"


def preprocess_folder(
    src: str | Path,
    dst: str | Path,
    settings: PreprocessSettings | None = None,
    workers: int = 1,
    *,
    labels: LabelFiles = "auto",
    overwrite: bool = False,
    keep_implausible: bool = False,
    progress: Progress = lambda outcomes, total: outcomes,
) -> PreprocessSummary:
    """Preprocess the recordings of ``src`` (see :func:`find_sources`) into ``dst/SPLIT/NAME``.

    A recording that cannot be used becomes a problem in the summary and the others go on. So does one whose labels do
    not seem to fit its events (see ``plausibility``), unless ``keep_implausible``. One that is finished with the same
    settings is left alone. ``progress(outcomes, total=n)`` may wrap the iteration in a progress bar. Raises
    ``InputError`` when there is nothing to do at all.
    """
    src = Path(src)
    dst = Path(dst)
    sources, problems = find_sources(src, labels)
    remove_unfinished(dst)
    # The largest first, so that no long recording is left over for one worker at the end.
    sources.sort(key=lambda source: (-source.events.stat().st_size, source.split, source.name))
    tasks = [
        (source, dst / source.split / source.name, settings or PreprocessSettings(), overwrite, keep_implausible)
        for source in sources
    ]
    outcomes = sorted(progress(_run(tasks, workers), total=len(tasks)), key=lambda outcome: outcome.name)
    return PreprocessSummary(outcomes, problems + [outcome.problem for outcome in outcomes if outcome.problem])


def _run(tasks: list[tuple], workers: int) -> Iterator[Outcome]:
    if workers <= 1 or len(tasks) == 1:
        yield from (_process(*task) for task in tasks)
        return
    # Forked, because importing the package again in every worker costs seconds.
    with ProcessPoolExecutor(min(workers, len(tasks)), get_context("fork"), _end_with_parent) as pool:
        source_of = {pool.submit(_process, *task): task[0] for task in tasks}
        for future in as_completed(source_of):
            try:
                yield future.result()
            except BrokenProcessPool:
                name = f"{source_of[future].split}/{source_of[future].name}"
                reason = "not finished because a worker process died (out of memory?); run again with fewer --workers"
                yield Outcome(name, problem=f"{name}: {reason}")


def _end_with_parent() -> None:
    """Make a worker end when the main process is killed, which would otherwise leave it waiting for ever."""

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _process(
    source: Source, folder: Path, settings: PreprocessSettings, overwrite: bool, keep_implausible: bool
) -> Outcome:
    name = f"{source.split}/{source.name}"
    try:
        if folder.exists() and not overwrite:
            return Outcome(name, _finished(source, folder, settings))
        return Outcome(name, preprocess_recording(source, folder, settings, keep_implausible), is_new=True)
    except InputError as error:
        return Outcome(name, problem=str(error))
    except OSError as error:
        advice = "see to free space and permissions in OUT, then run the same command again"
        return Outcome(name, problem=f"{name}: {sentence_of(error) or f'{error}; {advice}'}")
    except Exception:
        # One recording must not end the run of the others, but a fault of ours has to show where it is.
        return Outcome(name, problem=f"{name}: unexpected error, please report it\n{traceback.format_exc()}")


def _finished(source: Source, folder: Path, settings: PreprocessSettings) -> dict:
    """The manifest of a finished folder; raises ``InputError`` if it was made otherwise than is now asked."""
    advice = "choose another OUT or pass --overwrite"
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        raise InputError(f"{error}; {advice}") from error
    wanted = json.loads(json.dumps({"source_files": source.files, **asdict(settings)}))  # as the manifest holds it
    made = asdict(PreprocessSettings()) | manifest  # settings that an older version did not have
    made["representation"] = stated_options(made["representation"], is_old=True)
    for key, value in wanted.items():
        if made.get(key) != value:
            raise InputError(f"{folder}: made with {key} = {made.get(key)}, now asked for {value}; {advice}")
    return manifest
