"""The one door to a detector, and what its parts are told instead of having to be configured."""

from __future__ import annotations

import copy
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

from etram_mmdet.datasets.shared_keys import dataset_config, dataset_configs, metainfo_of, representation_of
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.events.representations import channels_of
from etram_mmdet.models.backbones.partition import partition_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.registry import takes_key

# A model may make parts that it replaces, and parts without weights. One that makes more than this is another model.
MAX_RATIO_OF_WEIGHTS = 2
MAX_MODULES_PER_TENSOR = 20


def build_detector(cfg: Config, weights: Mapping[str, Tensor] | None = None, source: str = "") -> nn.Module:
    """The detector of a config; nothing else in this package turns a config into one.

    What ``cfg.model`` leaves open is filled in first, in place: see :func:`complete_model` and
    :func:`complete_partition`. So a config that was dumped afterwards builds the same with ``MODELS.build(cfg.model)``.

    Args:
        cfg: a whole config; the model's part names classes that are registered.
        weights: those that the model is built for, where ``cfg`` comes from a file that nobody has checked: a model
            that is much larger is not built. Default: any size.
        source: the file of ``weights``, for messages.

    Raises:
        InputError: the config contradicts itself, or a part refuses its arguments.
    """
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")  # mmdet's prior generators cause it
    model = cfg.model
    backbone = model.get("backbone") or {}
    head = model.get("bbox_head") or {}
    if head.get("num_classes") is None or (backbone.get("in_channels") or model.get("in_channels")) is None:
        complete_model(cfg)
    if backbone.get("partition_size") is None:
        complete_partition(cfg)
    with nullcontext() if weights is None else _no_larger_than(weights, source):
        return MODELS.build(copy.deepcopy(cfg.model))


def complete_model(cfg: Config) -> None:
    """Fill in ``backbone.in_channels`` from the representation, ``bbox_head.num_classes`` from the classes, in place.

    A key is filled where its class takes it.

    Raises:
        InputError: the config states another number, or its data sets differ in classes or channels.
    """
    model = cfg.get("model") or {}
    described = _described(cfg)
    if not described:
        return
    place, channels, classes = described[0]
    _check_agreement(described)
    owner = _channels_owner(model)
    _fill(owner, "in_channels", channels, f"{place} has frames of {channels} channels", "representation")
    names = ", ".join(map(str, classes))
    head = {"model.bbox_head": model.get("bbox_head")}
    _fill(head, "num_classes", len(classes), f"{place} has {len(classes)} classes ({names})", "class_set")


def _channels_owner(model: dict) -> dict[str, dict | None]:
    """The part that states the channels of a frame, by its place: the detector where a backbone has no such key."""
    backbone = model.get("backbone")
    has_key = isinstance(backbone, dict) and takes_key(backbone, "in_channels", MODELS)
    return {"model.backbone": backbone} if has_key else {"model": model}


def _fill(owner: dict[str, dict | None], key: str, number: int, why: str, source: str) -> None:
    ((place, config),) = owner.items()
    if not isinstance(config, dict) or "type" not in config or not takes_key(config, key, MODELS):
        return
    if config.get(key) is None:
        config[key] = number
    elif config[key] != number:
        raise InputError(f"{place}.{key}={config[key]}, but {why}; leave {key} out of the config, or correct {source}")


def _described(cfg: Config) -> list[tuple[str, int, tuple[str, ...]]]:
    """Place, channels and classes of every data set of events, or of what the top of a config without loaders says."""
    found = list(dataset_configs(cfg))
    if not found and dataset_config(cfg):
        found = [("the top of the config", dict(dataset_config(cfg)))]
    events = [(place, data) for place, data in found if "type" not in data or takes_key(data, "class_set", DATASETS)]
    return [(place, channels_of(representation_of(d)), tuple(metainfo_of(d)["classes"])) for place, d in events]


def _check_agreement(described: list[tuple[str, int, tuple[str, ...]]]) -> None:
    first, channels, classes = described[0]
    for place, other_channels, other_classes in described:
        if other_channels != channels:
            raise InputError(
                f"{first} has frames of {channels} channels, but {place} of {other_channels}; give all data sets of a "
                "config one representation"
            )
        if other_classes != classes:
            raise InputError(
                f"{first} has the classes {', '.join(classes)}, but {place} has {', '.join(other_classes)}; a network "
                "tells them by number, so give all data sets of a config one class_set and metainfo"
            )


def complete_partition(cfg: Config) -> None:
    """Fill in ``backbone.partition_size`` from the frames by :func:`partition_of`, where its class takes it, in place.

    Raises:
        InputError: the frames' size is unknown, because the data cannot be read.
    """
    backbone = cfg.model.get("backbone") or {}
    if not isinstance(backbone, dict) or not takes_key(backbone, "partition_size", MODELS):
        return
    try:
        hw = DATASETS.build(dict(dataset_config(cfg), pipeline=[])).sequences[0].hw
    except (InputError, TypeError) as error:
        raise InputError(
            "model.backbone.partition_size is left out, so it follows from the size of the frames, but the data cannot "
            f"be read: {error}. RVT's rule is the padded size divided by 64, (6, 10) for frames of 384 x 640"
        ) from error
    backbone["partition_size"] = partition_of(hw)


@contextmanager
def _no_larger_than(weights: Mapping[str, Tensor], source: str) -> Iterator[None]:
    """Stop the building of a model as soon as it needs more than a file holds.

    Memory for a parameter is taken when its numbers are set, which comes after it is registered. So a model that
    asks for a thousand times the weights costs nothing before it is refused.

    Args:
        weights: those that the model is built for.
        source: the file, for the message.

    Raises:
        InputError: the model makes more parameters, numbers or modules than belong to ``weights``.
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
                raise InputError(f"{source}: its config describes a larger model than its {len(weights)} tensors fill")

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
    """Call ``fit_to_data(BoxStatistics)`` of every module, and assigner, that has it; returns sentences for the log.

    It happens before training. What a part needs again at test time it must keep in buffers. Boxes are counted only
    where somebody asks.
    """
    parts = [part for module in model.modules() for part in (module, getattr(module, "assigner", None))]
    asking = [part for part in parts if hasattr(part, "fit_to_data")]
    boxes = as_streams(dataset).box_statistics() if asking else None
    return [part.fit_to_data(boxes) for part in asking]
