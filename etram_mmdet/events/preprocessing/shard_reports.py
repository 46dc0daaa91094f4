"""What each shard of a preprocessing has done, in small files that one summary reads.

A recording that cannot be used leaves no folder; its reason is kept here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.preprocessing.summary import Outcome
from etram_mmdet.utils.claims import Holder, is_stale, try_claim
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import write_json
from etram_mmdet.utils.json_files import read_json
from etram_mmdet.utils.processes import machine_id
from etram_mmdet.utils.shards import Shard

FOLDER = ".shards"
WRITE_S = 1.0  # shortest time between two writings of a report


class ShardReport:
    """The report of one shard, which is written as its recordings are finished.

    Args:
        dst: folder of the sequence folders.
        shard: the shard of this process.
        names: names of its recordings, as ``SPLIT/NAME``.
    """

    def __init__(self, dst: Path, shard: Shard, names: list[str]) -> None:
        self._path = dst / FOLDER / f"{shard.number}_of_{shard.count}.json"
        self._content = dict(
            number=shard.number,
            count=shard.count,
            holder=asdict(Holder.here()),
            recordings=names,
            outcomes={},
            has_ended=False,
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # a sign of life for other machines; None if another process works on the same shard
        self._claim = try_claim(_claim_of(self._path))
        self._lock = threading.Lock()
        self._later: threading.Timer | None = None
        self._write()

    def of(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes and write them down; the shard has ended when they end.

        Args:
            outcomes: one outcome per recording.
        """
        try:
            for outcome in outcomes:
                self._note(outcome)
                yield outcome
            self._content["has_ended"] = True
        finally:
            with self._lock:
                if self._later is not None:
                    self._later.cancel()
                self._write()
            if self._claim is not None:
                self._claim.release()

    def _note(self, outcome: Outcome) -> None:
        with self._lock:
            self._content["outcomes"][outcome.name] = dict(
                problem=outcome.problem, left_out=outcome.left_out, is_new=outcome.is_new
            )
            left_s = self._written_s + WRITE_S - time.monotonic()
            if left_s <= 0:
                self._write()
            elif self._later is None:
                # the next recording may take hours, or be this process's last
                self._later = threading.Timer(left_s, self._write_late)
                self._later.daemon = True
                self._later.start()

    def _write_late(self) -> None:
        with self._lock, suppress(InputError):  # of a full disk, which the next outcome tells
            self._later = None
            self._write()

    def _write(self) -> None:
        write_json(self._path, self._content)
        self._written_s = time.monotonic()


class Entry(NamedTuple):
    """What a report says about a recording.

    Attributes:
        time_s: when the report was written, in seconds of the file system's clock.
        problem: why the recording could not be used.
        left_out: why RVT's rules leave it out.
        is_new: whether its folder was made by that shard.
    """

    time_s: float
    problem: str | None
    left_out: str | None
    is_new: bool


class ReadReport(NamedTuple):
    """The report of a shard as somebody else reads it.

    Attributes:
        shard: its number and the number of all.
        time_s: when it was written, in seconds of the file system's clock.
        holder: the process that wrote it.
        recordings: names of its recordings.
        entries: what became of them so far.
        has_ended: whether it has come to its end.
        is_at_work: whether that process is known to work, or may do so on another machine.
    """

    shard: Shard
    time_s: float
    holder: Holder
    recordings: list[str]
    entries: dict[str, Entry]
    has_ended: bool
    is_at_work: bool


def _claim_of(report: Path) -> Path:
    return report.with_suffix(".claim")


def _is_at_work(path: Path, holder: Holder) -> bool:
    """Whether a shard's process runs: looked up here, by its claim on another machine."""
    if holder.machine == machine_id():
        return not holder.has_ended()
    return not is_stale(_claim_of(path))


def remove_reports(dst: Path) -> None:
    """Remove the reports of earlier shards, before new ones start.

    Args:
        dst: folder of the sequence folders.
    """
    for path in (dst / FOLDER).glob("[0-9]*_of_*.json"):
        path.unlink(missing_ok=True)


def read_reports(dst: Path) -> list[ReadReport]:
    """Reports of all shards, by their number; none if there were no shards.

    Reports of an earlier run with another number of shards stay and count as well.

    Args:
        dst: folder of the sequence folders.

    Raises:
        InputError: when a report is damaged.
    """
    found = [_read_report(path) for path in (dst / FOLDER).glob("[0-9]*_of_*.json")]
    return sorted(found, key=lambda report: (report.shard.count, report.shard.number))


def _read_report(path: Path) -> ReadReport:
    advice = "remove it, and start this shard again"
    time_s = path.stat().st_mtime
    content = read_json(path, advice, most_bytes=None)
    try:
        entries = {name: Entry(time_s, **said) for name, said in content["outcomes"].items()}
        holder = Holder(**content["holder"])
        has_ended = bool(content["has_ended"])
        return ReadReport(
            Shard(content["number"], content["count"]),
            time_s,
            holder,
            list(content["recordings"]),
            entries,
            has_ended,
            not has_ended and _is_at_work(path, holder),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the report of a shard ({error}); {advice}") from error


def newest_entry(reports: list[ReadReport], name: str) -> Entry | None:
    """What the newest report that knows a recording says about it; None if none does.

    Args:
        reports: from :func:`read_reports`.
        name: the recording, as ``SPLIT/NAME``.
    """
    entries = [report.entries[name] for report in reports if name in report.entries]
    return max(entries, key=lambda entry: entry.time_s, default=None)


def newest_run(reports: list[ReadReport]) -> list[ReadReport]:
    """Reports with the number of shards of the newest one.

    Args:
        reports: from :func:`read_reports`.
    """
    newest = max(reports, key=lambda report: report.time_s, default=None)
    return [report for report in reports if report.shard.count == newest.shard.count]


def have_all_ended(reports: list[ReadReport]) -> bool:
    """Whether every shard of the newest run has come to its end.

    Args:
        reports: from :func:`read_reports`.
    """
    run = newest_run(reports)
    return bool(run) and sum(report.has_ended for report in run) == run[0].shard.count


def told_of_shards(reports: list[ReadReport]) -> list[str]:
    """Lines about the shards that have not ended; none if all have, or there were none.

    Args:
        reports: from :func:`read_reports`.
    """
    run = newest_run(reports)
    if not run or have_all_ended(reports):
        return []
    count = run[0].shard.count
    ended = sum(report.has_ended for report in run)
    lines = [f"shards: {ended} of {count} have ended"]
    for report in run:
        if not report.has_ended:
            state = "works" if report.is_at_work else "was stopped"
            lines.append(
                f"  shard {report.shard} {state}: {len(report.entries)} of "
                f"{len(report.recordings)} recordings, {report.holder}"
            )
    begun = {report.shard.number for report in run}
    never = [str(number) for number in range(1, count + 1) if number not in begun]
    return lines + ([f"  shards not started: {', '.join(never)}"] if never else [])
