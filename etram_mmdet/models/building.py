"""Build a detector from a config, and fill in the settings that follow from the data."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.utils.data import Dataset

from etram_mmdet.datasets.shared_keys import (
    dataset_config,
    dataset_configs,
    metainfo_of,
    representation_of,
)
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.events.representations import channels_of
from etram_mmdet.models.backbones.partition import partition_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.registry import class_of, takes_key

# While it is built, a model may make parts that it replaces later, and parts without weights. A
# model that makes more than this does not belong to the checkpoint.
MAX_RATIO_OF_WEIGHTS = 2
MAX_MODULES_PER_TENSOR = 20


def build_detector(
    cfg: Config, weights: Mapping[str, Tensor] | None = None, source: str = ""
) -> nn.Module:
    """Build the detector of a config. Nothing else in this package builds one.

    Settings that ``cfg.model`` leaves open are filled in first, in place: see
    :func:`complete_model` and :func:`complete_partition`. So a config that is dumped afterwards
    builds the same detector with ``MODELS.build(cfg.model)``.

    Args:
        cfg: a whole config, whose model names registered classes.
        weights: tensors of a checkpoint whose config nobody has checked. A model that is much
            larger than them is not built. Default: any size is built.
        source: the file of ``weights``, for messages.

    Raises:
        InputError: the config contradicts itself, or a part refuses its arguments.
    """
    # mmdet's prior generators cause it
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")
    model = cfg.model
    backbone = model.get("backbone") or {}
    head = model.get("bbox_head") or {}
    if (
        head.get("num_classes") is None
        or (backbone.get("in_channels") or model.get("in_channels")) is None
    ):
        complete_model(cfg)
    if backbone.get("partition_size") is None:
        complete_partition(cfg)
    with nullcontext() if weights is None else _no_larger_than(weights, source):
        return MODELS.build(copy.deepcopy(cfg.model))


def complete_model(cfg: Config) -> None:
    """Fill in ``backbone.in_channels`` and ``bbox_head.num_classes`` of a config, in place.

    The channels follow from the representation of the data, the number of classes from their class
    set. A key is filled only if its class takes it.

    Args:
        cfg: a whole config. One without data is not changed.

    Raises:
        InputError: the config states another number, or its data sets differ in classes or
            channels.
    """
    model = cfg.get("model") or {}
    described = _described_data(cfg)
    if not described:
        return
    place, channels, classes = described[0]
    _check_agreement(described)
    owner = _channels_owner(model)
    _fill_number(
        owner,
        "in_channels",
        channels,
        f"{place} has frames of {channels} channels",
        "representation",
    )
    names = ", ".join(map(str, classes))
    head = {"model.bbox_head": model.get("bbox_head")}
    _fill_number(
        head,
        "num_classes",
        len(classes),
        f"{place} has {len(classes)} classes ({names})",
        "class_set",
    )


def _channels_owner(model: dict) -> dict[str, dict | None]:
    """The config that states the channels of a frame, by its place in the whole config.

    That is the backbone, or the detector if the backbone has no key ``in_channels``.
    """
    backbone = model.get("backbone")
    has_key = isinstance(backbone, dict) and takes_key(backbone, "in_channels", MODELS)
    return {"model.backbone": backbone} if has_key else {"model": model}


def _fill_number(
    owner: dict[str, dict | None], key: str, number: int, why: str, source: str
) -> None:
    ((place, config),) = owner.items()
    if not isinstance(config, dict) or "type" not in config or not takes_key(config, key, MODELS):
        return
    if config.get(key) is None:
        config[key] = number
    elif config[key] != number:
        raise InputError(
            f"{place}.{key}={config[key]}, but {why}; leave {key} out of the config, or correct "
            f"{source}"
        )


def _described_data(cfg: Config) -> list[tuple[str, int, tuple[str, ...]]]:
    """Place, channels and classes of every data set of events that a config names.

    A config without loaders is described by the keys at its top.
    """
    found = list(dataset_configs(cfg))
    if not found and dataset_config(cfg):
        found = [("the top of the config", dict(dataset_config(cfg)))]
    events = [
        (place, data)
        for place, data in found
        if "type" not in data or takes_key(data, "class_set", DATASETS)
    ]
    return [
        (place, channels_of(representation_of(d)), tuple(metainfo_of(d)["classes"]))
        for place, d in events
    ]


def _check_agreement(described: list[tuple[str, int, tuple[str, ...]]]) -> None:
    first, channels, classes = described[0]
    for place, other_channels, other_classes in described:
        if other_channels != channels:
            raise InputError(
                f"{first} has frames of {channels} channels, but {place} of {other_channels}; give "
                "all data sets of a config the same representation"
            )
        if other_classes != classes:
            raise InputError(
                f"{first} has the classes {', '.join(classes)}, but {place} has "
                f"{', '.join(other_classes)}; a network knows classes by number only, so give all "
                "data sets of a config the same class_set and metainfo"
            )


def complete_partition(cfg: Config) -> None:
    """Fill in ``backbone.partition_size`` of a config by :func:`partition_of`, in place.

    The size follows from the frames of the data. Backbones without this key are not changed.

    Args:
        cfg: a whole config, whose data can be read.

    Raises:
        InputError: the size of the frames is unknown, because the data cannot be read.
    """
    backbone = cfg.model.get("backbone") or {}
    if not isinstance(backbone, dict) or not takes_key(backbone, "partition_size", MODELS):
        return
    try:
        hw = _dataset_to_look_at(dataset_config(cfg)).frame_hw()
    except (InputError, TypeError) as error:
        raise InputError(
            "model.backbone.partition_size is left out, so it follows from the size of the frames, "
            f"but the data cannot be read: {error}. Set it by RVT's rule, the padded size divided "
            "by 64: (6, 10) for frames of 384 x 640"
        ) from error
    backbone["partition_size"] = partition_of(hw)


def _dataset_to_look_at(dataset: Mapping) -> Dataset:
    """A data set that is not read yet, if its class can wait.

    A training reads other data, and the loader of a test reads these itself.
    """
    config = dict(dataset, pipeline=[])
    taken = inspect.signature(class_of(config, DATASETS).__init__).parameters
    if "lazy_init" in taken or any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        config["lazy_init"] = True
    return DATASETS.build(config)


@contextmanager
def _no_larger_than(weights: Mapping[str, Tensor], source: str) -> Iterator[None]:
    """Stop building a model once it is larger than a checkpoint.

    Memory for a parameter is taken when its numbers are set, which happens after it is registered.
    So a model with a thousand times the weights costs no memory before it is refused.

    Args:
        weights: tensors of the checkpoint.
        source: the checkpoint's file, for the message.

    Raises:
        InputError: the model has more parameters, numbers or modules than belong to ``weights``.
    """
    most = {
        "weights": MAX_RATIO_OF_WEIGHTS * (sum(tensor.numel() for tensor in weights.values()) + 1),
        "tensors": MAX_RATIO_OF_WEIGHTS * (len(weights) + 1),
        "modules": MAX_MODULES_PER_TENSOR * (len(weights) + 1),
    }
    made = dict.fromkeys(most, 0)

    def count(**more: int) -> None:
        for what, number in more.items():
            made[what] += number
            if made[what] > most[what]:
                raise InputError(
                    f"{source}: its config describes a larger model than its {len(weights)} "
                    "tensors fill"
                )

    def parameter_hook(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            count(tensors=1, weights=parameter.numel())

    def module_hook(module: nn.Module, name: str, child: nn.Module | None) -> None:
        count(modules=1)

    hooks = [
        register_module_parameter_registration_hook(parameter_hook),
        register_module_module_registration_hook(module_hook),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def fit_to_data(model: nn.Module, dataset: Dataset) -> list[str]:
    """Pass the statistics of the training boxes to every part of a model that uses them.

    Such a part has a method ``fit_to_data(BoxStatistics)``; parts are the modules and their
    assigners. This happens before training. Numbers that a part needs again at test time belong in
    its buffers. Boxes are counted only if some part uses them.

    Args:
        model: a detector.
        dataset: the training data.

    Returns:
        One sentence for the log from each such part.
    """
    parts = [
        part for module in model.modules() for part in (module, getattr(module, "assigner", None))
    ]
    asking = [part for part in parts if hasattr(part, "fit_to_data")]
    boxes = as_streams(dataset).box_statistics() if asking else None
    return [part.fit_to_data(boxes) for part in asking]
