"""Refuse processes (ranks) of one training that differ in config, code or data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NoReturn

from mmengine.config import Config
from mmengine.dist import all_gather_object, get_world_size
from torch.utils.data import Dataset

from etram_mmdet.datasets.statistics import fingerprint
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.runner.rank_watch import stop_watching
from etram_mmdet.utils.claims import Holder
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import differences, shown

_OF_A_MACHINE = (
    "num_workers persistent_workers prefetch_factor pin_memory data_root work_dir".split()
)
_COMPARED_PACKAGES = ("torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "numpy")
_SHOWN = 8
HEAR_S = 2.0  # a launcher ends all ranks once one has ended, also the one still printing its error


def check_same_start(cfg: Config) -> None:
    """Refuse ranks with other configs or other code; paths of data may differ.

    Args:
        cfg: the config of this rank.

    Raises:
        InputError: the ranks differ.
    """
    if get_world_size() > 1:
        _check_same(dict(config=_without_paths(cfg.to_dict()), code=_code(cfg)))


def check_same_data(datasets: dict[str, Dataset]) -> None:
    """Refuse ranks that read other data.

    Args:
        datasets: data sets by their use, such as ``train``.

    Raises:
        InputError: the ranks differ.
    """
    if get_world_size() > 1:
        _check_same(
            dict(
                data={name: _data_facts(as_streams(dataset)) for name, dataset in datasets.items()}
            )
        )


def _check_same(facts: dict) -> None:
    """Compare one digest over all ranks; if it differs, also the facts behind it."""
    text = json.dumps(facts, sort_keys=True, default=_type_name)
    digests = all_gather_object(hashlib.sha256(text.encode()).hexdigest())
    if len(set(digests)) == 1:
        return
    everything = all_gather_object((text, f"process {Holder.here().pid} on {Holder.here().host}"))
    usual = digests.index(Counter(digests).most_common(1)[0][0])
    lines = []
    for rank, (theirs, who) in enumerate(everything):
        found = differences([json.loads(theirs), json.loads(everything[usual][0])])
        listed = [
            f"{key}: {shown(a):.80}, on rank {usual} {shown(b):.80}"
            for key, (a, b) in found.items()
        ]
        more = [f"and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
        lines += [f"  rank {rank} ({who}): {'; '.join(listed[:_SHOWN] + more)}"] if listed else []
    raise_once(
        InputError(
            "the ranks (processes) of this run differ in config, code or data:\n"
            + "\n".join(lines)
            + "\nGive all of them the same config, code and data, and start them again"
        )
    )


def raise_once(error: InputError) -> NoReturn:
    """Raise an error that all ranks have found, on the first rank of each machine only.

    The other ranks exit with the same status.

    Args:
        error: the error.
    """
    stop_watching()
    if int(os.environ.get("LOCAL_RANK", 0)):
        time.sleep(HEAR_S)
        sys.exit(1)
    raise error


def _without_paths(node: object) -> object:
    """A config without paths of data and results, and without settings of the loading speed."""
    if isinstance(node, dict):
        return {
            str(key): _without_paths(value)
            for key, value in node.items()
            if key not in _OF_A_MACHINE
        }
    return [_without_paths(value) for value in node] if isinstance(node, list | tuple) else node


def _type_name(value: object) -> str:
    """Classes and functions by name: their text holds an address in memory."""
    return getattr(value, "__qualname__", None) or type(value).__name__


def _code(cfg: Config) -> dict[str, str]:
    """Digests of the code of this package and of modules in the config, and versions of others."""
    package = Path(__file__).parents[2]
    files = {str(path.relative_to(package)): path for path in package.rglob("*.py")}
    for name in (cfg.get("custom_imports") or {}).get("imports", []):
        module = getattr(sys.modules.get(name), "__file__", None)
        files |= {name: Path(module)} if module else {}
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in files.items()
    }
    return digests | {name: _version(name) for name in _COMPARED_PACKAGES}


@cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _data_facts(dataset: Dataset) -> dict:
    return fingerprint(dataset) if hasattr(dataset, "sequences") else dict(length=len(dataset))
