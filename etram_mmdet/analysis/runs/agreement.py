"""Facts that two runs must share to be compared, for tools/ablate.py and tools/compare.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from etram_mmdet.analysis.runs.evaluations import headline
from etram_mmdet.analysis.runs.run import Run
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import differences, shown

# What a tool does with runs that differ in a fact.
REFUSED = "refused"  # It does not compare them.
WARNED = "warned"  # It compares them and warns that this alone may make the difference in AP.
ALLOWED = "allowed"  # It compares them.


class Fact(NamedTuple):
    """Something besides the model in which two runs may differ.

    Attributes:
        name: name in messages and tables.
        of: returns its value from a run.json, to which `Run.facts` adds.
        ablation: what tools/ablate.py does with runs that differ in it: `REFUSED`, `WARNED` or
            `ALLOWED`.
        comparison: the same for tools/compare.py.
    """

    name: str
    of: Callable[[dict], object]
    ablation: str
    comparison: str


def _counted(run: dict) -> str:
    """Returns frames and boxes of the evaluation; run.json keeps no digest of the test split."""
    metrics = {key.rpartition("/")[2]: value for key, value in run.get("metrics", {}).items()}
    return ", ".join(f"{metrics[key]:,.0f} {key}" for key in ("frames", "boxes") if key in metrics)


def _data(fingerprint: dict) -> str:
    counts = (
        f"{fingerprint[key]:,} {key.replace('_', ' ')}"
        for key in ("recordings", "labelled_frames", "boxes")
    )
    return f"{fingerprint['split']} of {', '.join(counts)} ({fingerprint['sha256']})"


def _rate(run: dict) -> str:
    batch = run["batch"] * run["schedule"].get("accumulative_counts", 1)
    return "the optimizer's own" if run["lr"] is None else f"{run['lr'] / math.sqrt(batch):.4g}"


def _samples_seen(run: dict) -> int:
    return run.get("samples_seen", run["samples"])


def _of_all_starts(run: dict, fact: Callable[[dict], object]) -> object:
    """Returns a fact of a run, or a list if the run was resumed and the fact changed.

    The list has one value for each start of the run whose steps are part of its weights.
    """
    values = [fact(run)]
    first_step = run.get("from_step", 0)
    for start in reversed(run.get("earlier_starts", [])):
        # The steps of a start are in the weights only if it began before all later starts.
        if start.get("from_step", 0) < first_step:
            values.insert(0, fact(start))
            first_step = start.get("from_step", 0)
    return values[-1] if all(value == values[-1] for value in values) else values


SAMPLES = "samples seen"
TRAINING_DATA = "training data"
FACTS = (
    # Under other rules or on other data an AP means something else.
    Fact("protocol", headline, REFUSED, REFUSED),
    Fact("test_cfg", lambda run: run["test_cfg"], REFUSED, REFUSED),
    Fact("evaluated data", lambda run: _data(run["val_data"]), REFUSED, REFUSED),
    Fact("evaluated frames", _counted, REFUSED, REFUSED),
    Fact(TRAINING_DATA, lambda run: _data(run["train_data"]), REFUSED, REFUSED),
    # Steps are no fact: with equal samples, another batch size means another number of steps. The
    # learning rate depends on the batch size too.
    Fact(SAMPLES, _samples_seen, REFUSED, WARNED),
    Fact("clip length", lambda run: run["clip_length"], REFUSED, WARNED),
    Fact("learning rate / sqrt(batch)", _rate, REFUSED, WARNED),
    Fact("schedule", lambda run: run["schedule"], REFUSED, WARNED),
    Fact(
        "part of the schedule",
        lambda run: f"{_samples_seen(run) / run['samples']:.0%}",
        REFUSED,
        WARNED,
    ),
    # An ablation varies these on purpose.
    Fact("starting weights", lambda run: run.get("starting_weights"), ALLOWED, WARNED),
    Fact("seed", lambda run: run.get("seed"), ALLOWED, WARNED),
    # These have small effects. A comparison lists them among the differences.
    Fact(
        "device",
        lambda run: _of_all_starts(run, lambda start: start["machine"]["device"]),
        REFUSED,
        ALLOWED,
    ),
    Fact(
        "commit", lambda run: _of_all_starts(run, lambda start: start["commit"]), REFUSED, ALLOWED
    ),
)
# Settings of a config that are names of folders or files.
_PLACES = {"work_dir", "out_dir", "save_dir", "data_root", "load_from", "resume"}
# Properties of a machine that do not change what it computes.
_SPEED = {"threads", "cores"}
# Facts that a comparison lists, besides the properties of the machine.
_LISTED = (TRAINING_DATA, "starting weights", "commit")


def obstacles(record: dict, baseline: dict) -> list[str]:
    """Returns the reasons why an ablation does not compare two runs; empty if it may.

    Args:
        record: run.json of one run, with its metrics.
        baseline: the same of the other run.
    """
    wanted = [fact for fact in FACTS if fact.ablation == REFUSED]
    found = _disagreements([record, baseline], wanted)
    return [
        f"{what} {shown(mine)} instead of {shown(theirs)}" for what, (mine, theirs) in found.items()
    ]


def check_comparable(runs: Sequence[Run], allow_other_training_data: bool = False) -> None:
    """Checks that runs agree in protocol, data and post-processing.

    Args:
        runs: the runs.
        allow_other_training_data: whether the runs may differ in training data. Default: no.

    Raises:
        InputError: the runs differ; the message holds the values of all runs.
    """
    wanted = [fact for fact in FACTS if fact.comparison == REFUSED]
    if allow_other_training_data:
        wanted = [fact for fact in wanted if fact.name != TRAINING_DATA]
    found = _disagreements([run.facts for run in runs], wanted)
    if not found:
        return
    listed = [f"{what}: " + _by_run(runs, values) for what, values in found.items()]
    advice = (
        "leave out the runs that differ, or train all under the same conditions, as "
        "tools/ablate.py does"
    )
    if list(found) == [TRAINING_DATA]:
        advice += "; --allow-other-training-data compares them nevertheless"
    raise InputError(
        "\n  ".join(["these runs may not be compared, because they differ in", *listed])
        + f"\n{advice}"
    )


def unequal_conditions(runs: Sequence[Run]) -> list[str]:
    """Names what besides the model may be the reason for a difference in AP.

    Args:
        runs: the runs.
    """
    facts = [run.facts for run in runs]
    wanted = [fact for fact in FACTS if fact.comparison == WARNED or fact.name == TRAINING_DATA]
    return [fact.name for fact in wanted if _disagreements(facts, [fact])]


def what_differs(runs: Sequence[Run]) -> dict[str, list]:
    """Returns the values of each run for every setting in which the runs differ.

    It looks at the configs and at the machines, commits, data and starting weights in run.json.
    Names of folders do not count.

    Args:
        runs: the runs.

    Returns:
        One value per run, in the order of ``runs``, by name of the setting.
    """
    machines = [
        {key: value for key, value in run.record["machine"].items() if key not in _SPEED}
        for run in runs
    ]
    return (
        differences([run.config for run in runs], ignored=_PLACES.__contains__)
        | _disagreements(
            [run.facts for run in runs], [fact for fact in FACTS if fact.name in _LISTED]
        )
        | differences(machines, "machine")
    )


def _disagreements(runs: Sequence[dict], facts: Sequence[Fact]) -> dict[str, list]:
    """Returns the values of all runs by the name of each fact in which they differ.

    If a fact is a dict, like ``test_cfg``, the names are paths of its settings.
    """
    return differences([{fact.name: fact.of(run) for fact in facts} for run in runs])


def _by_run(runs: Sequence[Run], values: Sequence) -> str:
    return ", ".join(
        f"{run.folder} has {shown(value)}" for run, value in zip(runs, values, strict=True)
    )
