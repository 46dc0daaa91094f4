"""What differs between runs: what forbids to compare them, what makes it doubtful, and everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from etram_mmdet.analysis.runs.run import Run
from etram_mmdet.utils.errors import InputError

SEED, SAMPLES = "randomness.seed", "samples seen"
_PLACES = {"work_dir", "out_dir", "save_dir", "data_root", "load_from", "resume"}
_SPEED = {"threads", "cores"}  # of a machine; they do not change what it computes
_TRAINING_DATA, _WEIGHTS = "training data", "starting weights"


def check_comparable(runs: Sequence[Run], allow_other_training_data: bool = False) -> None:
    """Raises ``InputError`` naming the values of all runs where protocol, data or post-processing differ."""
    found = differences([_must_agree(run) for run in runs])
    if allow_other_training_data:
        found.pop(_TRAINING_DATA, None)
    if not found:
        return
    listed = [f"{what}: " + _by_run(runs, values) for what, values in found.items()]
    advice = "leave out those that differ, or train all alike, as tools/ablate.py does"
    if list(found) == [_TRAINING_DATA]:
        advice += "; --allow-other-training-data compares them all the same"
    raise InputError("\n  ".join(["these runs may not be compared, they differ in", *listed]) + f"\n{advice}")


def _must_agree(run: Run) -> dict:
    return {
        "protocol": run.protocol,
        "test_cfg": run.record["test_cfg"],
        "evaluated data": _data(run.record["val_data"]),
        "evaluated frames": _counted(run.metrics),  # run.json keeps no digest of the test split
        _TRAINING_DATA: _data(run.record["train_data"]),
    }


def _by_run(runs: Sequence[Run], values: Sequence) -> str:
    return ", ".join(f"{run.folder} has {shown(value)}" for run, value in zip(runs, values, strict=True))


def unequal_conditions(runs: Sequence[Run]) -> list[str]:
    """Names of what, besides the model, may be the reason for a difference in AP."""
    conditions = [_conditions(run) for run in runs]
    return [name for name in conditions[0] if any(other[name] != conditions[0][name] for other in conditions[1:])]


def _conditions(run: Run) -> dict:
    record = run.record
    return {
        SAMPLES: run.samples,
        "clip length": record["clip_length"],
        "learning rate / sqrt(batch)": f"{record['lr'] / math.sqrt(record['batch']):.4g}",  # as tools/ablate.py
        "schedule": (record["schedule"], record["samples"]),
        _WEIGHTS: _starting_weights(run),
        _TRAINING_DATA: record["train_data"],
        "seed": record["seed"],
    }


def what_differs(runs: Sequence[Run]) -> dict[str, list]:
    """Values of each run by setting of the configs, and of run.json what it ran on; names of places do not count."""
    origins = [
        {
            _TRAINING_DATA: _data(run.record["train_data"]),
            _WEIGHTS: _starting_weights(run),
            "commit": run.record["commit"],
            "machine": {key: value for key, value in run.record["machine"].items() if key not in _SPEED},
        }
        for run in runs
    ]
    return differences([run.config for run in runs]) | differences(origins)


def differences(values: Sequence, path: str = "") -> dict[str, list]:
    """The values of each run by the dotted path of every setting that differs; one that a run lacks is ``None``.

    Lists are compared item by item where all runs list the same types in the same order, else they are one setting.
    """
    if all(isinstance(value, dict) for value in values):
        parts = {key: [value.get(key) for value in values] for key in sorted(set().union(*values) - _PLACES, key=str)}
    elif all(_types(value) == _types(values[0]) != [] for value in values):
        parts = dict(enumerate(zip(*values, strict=True)))
    else:
        return {} if all(value == values[0] for value in values) else {path: list(values)}
    found = [differences(part, f"{path}.{key}".removeprefix(".")) for key, part in parts.items()]
    return {setting: of_runs for each in found for setting, of_runs in each.items()}


def _types(value: object) -> list[str]:
    """Of a list of registered classes; empty for anything else."""
    items = value if isinstance(value, list) else []
    return [item["type"] for item in items] if all(isinstance(i, dict) and "type" in i for i in items) else []


def shown(value: object) -> str:
    """A setting in a cell: classes like ``ClipZoom(scale=2)``."""
    if isinstance(value, dict):
        settings = ", ".join(f"{key}={shown(each)}" for key, each in value.items() if key != "type")
        return f"{value.get('type', 'dict')}({settings})".removesuffix("()")
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return "unset" if value is None else str(value)


def _starting_weights(run: Run) -> str | None:
    """``load_from``, unless it is the run's own checkpoint that training was resumed from."""
    return None if run.config.get("resume") else run.config.get("load_from")


def _counted(metrics: dict[str, float]) -> str:
    return ", ".join(f"{metrics[key]:,.0f} {key}" for key in ("frames", "boxes") if key in metrics)


def _data(fingerprint: dict) -> str:
    counts = (f"{fingerprint[key]:,} {key.replace('_', ' ')}" for key in ("recordings", "labelled_frames", "boxes"))
    return f"{fingerprint['split']} of {', '.join(counts)} ({fingerprint['sha256']})"
