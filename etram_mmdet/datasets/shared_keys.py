"""Keys that all data sets of a config share; each is set once, at the top of the config."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import get_args

from mmdet.registry import DATASETS
from mmengine.config import Config

from etram_mmdet.events.class_sets import (
    DEFAULT_CLASS_SET,
    chosen_classes,
    complete_metainfo,
    plain_class_set,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.representations import stated_options
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.registry import takes_key
from etram_mmdet.utils.text import as_plain

# Shared keys with the type of their value; a path counts as str.
KINDS = {"data_root": str, "class_set": str | dict, "representation": dict, "window_us": int}
SHARED = tuple(KINDS)
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def dataset_configs(cfg: Mapping) -> Iterator[tuple[str, dict]]:
    """Every data set of a config, also those inside wrappers.

    Args:
        cfg: complete config.

    Yields:
        Dotted place, such as ``train_dataloader.dataset``, and the config of the data set
            there.
    """
    for loader in LOADERS:
        if cfg.get(loader):
            yield from _data_sets_in(f"{loader}.dataset", cfg[loader].get("dataset"))


def _data_sets_in(place: str, node: object) -> Iterator[tuple[str, dict]]:
    if isinstance(node, list | tuple):
        for number, child in enumerate(node):
            yield from _data_sets_in(f"{place}.{number}", child)
    elif isinstance(node, dict):
        wrapped = [key for key in ("dataset", "datasets") if key in node]
        for key in wrapped:
            yield from _data_sets_in(f"{place}.{key}", node[key])
        if not wrapped:
            yield place, node


def share_data_keys(cfg: Config) -> None:
    """Copy the `SHARED` keys from the top of the config into every data set without them, in place.

    Options of a representation that an earlier version would read differently are written out
    (`stated_options`).

    Args:
        cfg: complete config.

    Raises:
        InputError: when a value has another type, or a data set states another value than the
            top of the config.
    """
    for holder in (cfg, *(dataset for _, dataset in dataset_configs(cfg))):
        if isinstance(holder.get("representation"), dict):
            holder["representation"].update(stated_options(holder["representation"]))
        if isinstance(holder.get("window_us"), float) and holder["window_us"].is_integer():  # 5e4
            holder["window_us"] = int(holder["window_us"])
        # A checkpoint holds the content of a class-set file, not its name.
        if isinstance(holder.get("class_set"), str | dict):
            holder["class_set"] = plain_class_set(holder["class_set"])
    for key in SHARED:
        value = cfg.get(key)
        _check_kind(key, key, value)
        for place, dataset in dataset_configs(cfg):
            stated = dataset.get(key)
            _check_kind(key, f"{place}.{key}", stated)
            if value is None:
                continue
            if stated is None and takes_key(dataset, key, DATASETS):
                dataset[key] = copy.deepcopy(value)
            elif stated is not None and as_plain(stated) != as_plain(value):
                raise InputError(
                    f"{key} is {as_plain(value)!r} at the top of the config, but {place}.{key} is "
                    f"{as_plain(stated)!r}; leave one of them out ({key}=None at the top lets "
                    "every data set have its own)"
                )


def _check_kind(key: str, place: str, value: object) -> None:
    is_path = key == "data_root" and isinstance(value, PathLike)
    if value is None or is_path or isinstance(value, KINDS[key]):
        return
    example = (
        f", such as dict(type={value!r})"
        if key == "representation" and isinstance(value, str)
        else ""
    )
    raise InputError(f"{place} is {as_plain(value)!r:.80}, expected {kind_name(key)}{example}")


def kind_name(key: str) -> str:
    """The type of a shared key as words.

    Args:
        key: one of `SHARED`.
    """
    return " or ".join(kind.__name__ for kind in get_args(KINDS[key]) or [KINDS[key]])


def adopt_data_keys(cfg: Config) -> None:
    """Copy each key of `SHARED` to the top of a config if all its data sets agree, in place.

    This is for complete configs of checkpoints, whose data sets are those of the training.

    Args:
        cfg: complete config.
    """
    for key in SHARED:
        stated = [
            dataset[key] for _, dataset in dataset_configs(cfg) if dataset.get(key) is not None
        ]
        if stated and all(as_plain(value) == as_plain(stated[0]) for value in stated):
            cfg[key] = copy.deepcopy(stated[0])


def override_data_keys(cfg: Config, keys: list[str]) -> None:
    """Copy keys from the top of the config over those of its data sets, in place.

    Args:
        cfg: complete config.
        keys: some of `SHARED`; a key that the top lacks changes nothing.
    """
    for key in keys:
        for _, dataset in dataset_configs(cfg) if cfg.get(key) is not None else ():
            if takes_key(dataset, key, DATASETS):
                dataset[key] = copy.deepcopy(cfg[key])


def dataset_config(cfg: Mapping) -> Mapping:
    """The data set that decides classes and frames: that of test, else validation, else training.

    A config without data sets may state these keys at its top.

    Args:
        cfg: complete config.
    """
    found = dict(dataset_configs(cfg))
    for loader in reversed(LOADERS):
        for place, dataset in found.items():
            if place.startswith(loader):
                return dataset
    return {key: cfg[key] for key in SHARED if cfg.get(key) is not None}


def metainfo_of(dataset: Mapping) -> dict:
    """Class names and colours of a data set's config.

    They are those of its ``class_set`` unless ``metainfo`` says otherwise.

    Args:
        dataset: config of a data set.
    """
    metainfo = dataset.get("metainfo")
    return complete_metainfo(
        chosen_classes(dataset.get("class_set") or DEFAULT_CLASS_SET, metainfo), metainfo
    )


def representation_of(dataset: Mapping) -> dict:
    """The representation in a data set's config; default: that of :class:`PreprocessSettings`.

    Args:
        dataset: config of a data set.
    """
    return dict(dataset.get("representation") or PreprocessSettings().representation)
