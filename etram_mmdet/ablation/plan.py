"""Which runs an ablation consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from etram_mmdet.engine.config import load_config
from etram_mmdet.events.errors import InputError

_KEYS = {"baseline", "seeds", "samples", "common", "runs"}
_RUN_KEYS = {"config", "options", "samples", "note"}


@dataclass(frozen=True)
class Variant:
    """One row of the table: a config with options, trained on ``samples`` clips with every seed."""

    name: str
    config: Path
    samples: int
    batch: int
    options: dict = field(default_factory=dict)
    note: str = ""

    @property
    def steps(self) -> int:
        return self.samples // self.batch

    def config_for(self, seed: int) -> Config:
        """The complete config of the run with ``seed``, which is evaluated once, after its last step."""
        steps = dict.fromkeys(("train_cfg.max_iters", "train_cfg.val_interval"), self.steps)
        kept = {"default_hooks.checkpoint.interval": max(1, self.steps // 5)}  # at most a fifth is lost by a kill
        return load_config(self.config, {**kept, **self.options, **steps, "randomness.seed": seed})


@dataclass(frozen=True)
class Plan:
    """An ablation file, read and checked; ``variants[0]`` is the baseline."""

    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> list[tuple[Variant, int]]:
        """Seed by seed, so that a table is complete as early as possible."""
        return [(variant, seed) for seed in self.seeds for variant in self.variants]


def load_plan(path: str | Path) -> Plan:
    """Read an ablation: a config file with these variables.

    ``runs``: name -> ``config`` (as seen from where the tool is called), ``options`` (as ``--cfg-options``),
    ``samples``, ``note``; ``baseline``: the name that the others are compared with; ``seeds``; ``samples``: clips that
    each run trains on, unless it says otherwise; ``common``: options of all runs.

    Raises:
        InputError: for a missing file, unknown or missing keys, and samples that are no multiple of a batch.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such ablation; configs/ablations/ holds those that exist")
    content = Config.fromfile(path).to_dict()
    _check_keys(path, "an ablation", content, _KEYS, _KEYS - {"common"})
    if content["baseline"] not in content["runs"]:
        raise InputError(
            f"{path}: baseline={content['baseline']!r} is not among its runs: {', '.join(content['runs'])}"
        )
    names = sorted(content["runs"], key=lambda name: name != content["baseline"])  # stable: the baseline first
    variants = tuple(_variant(path, name, content) for name in names)
    return Plan(variants, tuple(content["seeds"]))


def _variant(path: Path, name: str, content: dict) -> Variant:
    run = content["runs"][name]
    _check_keys(path, f"run {name!r}", run, _RUN_KEYS, {"config"})
    config, options = Path(run["config"]), {**content.get("common", {}), **run.get("options", {})}
    batch = load_config(config, options).train_dataloader.batch_size
    samples = run.get("samples", content["samples"])
    if samples < batch or samples % batch:
        raise InputError(
            f"{path}: run {name!r} cannot see {samples} samples in batches of {batch}; make them a multiple of it"
        )
    return Variant(name, config, samples, batch, options, run.get("note", ""))


def _check_keys(path: Path, what: str, given: dict, known: set, needed: set) -> None:
    unknown, missing = sorted(given.keys() - known), sorted(needed - given.keys())
    if unknown or missing:
        raise InputError(
            f"{path}: {what} has {f'unknown keys {unknown}' if unknown else f'no {missing}'}; expected {sorted(known)}"
        )
