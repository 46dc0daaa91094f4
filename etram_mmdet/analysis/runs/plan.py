"""The runs of an ablation, read from its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.config.reading import read_config
from etram_mmdet.utils.errors import InputError

_KEYS = {"baseline", "seeds", "samples", "common", "runs"}
_RUN_KEYS = {"config", "options", "samples", "note"}


@dataclass(frozen=True)
class Variant:
    """One row of an ablation's table: a config with options, trained once with every seed.

    Attributes:
        name: name in tables and of its folder.
        config: path of the config.
        samples: clips on which each run trains.
        batch: clips in a batch.
        options: settings that replace those of the config, as with ``--cfg-options``. Default:
            none.
        note: remark below the table. Default: none.
    """

    name: str
    config: Path
    samples: int
    batch: int
    options: dict = field(default_factory=dict)
    note: str = ""

    @property
    def steps(self) -> int:
        """Training steps of each run."""
        return self.samples // self.batch

    def config_for(self, seed: int) -> Config:
        """Returns the complete config of the run with ``seed``.

        The run is evaluated once, after its last step.
        """
        steps = dict.fromkeys(("train_cfg.max_iters", "train_cfg.val_interval"), self.steps)
        # If the run is killed, at most a fifth of it is lost.
        kept = {"default_hooks.checkpoint.interval": max(1, self.steps // 5)}
        return load_config(self.config, {**kept, **self.options, **steps, "randomness.seed": seed})


@dataclass(frozen=True)
class Plan:
    """An ablation file, read and checked.

    Attributes:
        variants: rows of the table; the first is the baseline.
        seeds: seeds with which each variant is trained.
    """

    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> list[tuple[Variant, int]]:
        """All runs, seed by seed, so that a table with every variant exists early."""
        return [(variant, seed) for seed in self.seeds for variant in self.variants]


def load_plan(
    path: str | Path,
    samples: int | None = None,
    seeds: Sequence[int] = (),
    runs: Sequence[str] = (),
    baseline: str | None = None,
) -> Plan:
    """Reads an ablation.

    Its file is a config with these variables:

    - ``runs``: each run by name, a dict with ``config`` (path from where the tool is called),
      ``options`` (as ``--cfg-options``), ``samples`` and ``note``
    - ``baseline``: name of the run with which the others are compared
    - ``seeds``: seeds with which each run is trained
    - ``samples``: clips on which a run trains, unless it has a number of its own
    - ``common``: options of all runs

    Args:
        path: the ablation file.
        samples: replaces the file's ``samples``; runs with a number of their own are scaled with
            it. Default: that of the file.
        seeds: replaces the file's ``seeds``. Default: those of the file.
        runs: names of the runs to keep besides the baseline. Default: all.
        baseline: replaces the file's ``baseline``. Default: that of the file.

    Raises:
        InputError: the file is missing, keys are unknown or missing, or samples are no multiple of
            the batch.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such ablation; configs/ablations/ holds the existing ones")
    content = read_config(path).to_dict()
    _check_keys(path, "an ablation", content, _KEYS, _KEYS - {"common"})
    content["baseline"] = baseline or content["baseline"]
    if content["baseline"] not in content["runs"]:
        raise InputError(
            f"{path}: baseline={content['baseline']!r} is not among its runs: "
            f"{', '.join(content['runs'])}"
        )
    unknown = sorted(set(runs) - set(content["runs"]))
    if unknown:
        raise InputError(
            f"{path}: no runs {unknown}; expected some of {', '.join(content['runs'])}"
        )
    wanted = {*(runs or content["runs"]), content["baseline"]}
    names = sorted(wanted & set(content["runs"]), key=[content["baseline"], *content["runs"]].index)
    scale = 1 if samples is None else samples / content["samples"]
    variants = tuple(_variant(path, name, content, scale) for name in names)
    return Plan(variants, tuple(seeds or content["seeds"]))


def _variant(path: Path, name: str, content: dict, scale: float) -> Variant:
    run = content["runs"][name]
    _check_keys(path, f"run {name!r}", run, _RUN_KEYS, {"config"})
    config = Path(run["config"])
    options = {**content.get("common", {}), **run.get("options", {})}
    batch = load_config(config, options).train_dataloader.batch_size
    samples = round(scale * run.get("samples", content["samples"]))
    if samples < batch or samples % batch:
        raise InputError(
            f"{path}: run {name!r} has {samples} samples, which is no multiple of its "
            f"batch size {batch}; change the number of samples"
        )
    return Variant(name, config, samples, batch, options, run.get("note", ""))


def _check_keys(path: Path, what: str, given: dict, known: set, needed: set) -> None:
    unknown = sorted(given.keys() - known)
    missing = sorted(needed - given.keys())
    if unknown or missing:
        raise InputError(
            f"{path}: {what} has {f'unknown keys {unknown}' if unknown else f'no {missing}'}; "
            f"expected {sorted(known)}"
        )
