"""The one door to a detector, and what its parts are told instead of having to be configured."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from etram_mmdet.datasets import shared_keys
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.shared_keys import dataset_config, dataset_configs, metainfo_of, representation_of
from etram_mmdet.events.representations import channels_of
from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.utils.errors import InputError

TOLERATED_PADDING = 0.1  # of a frame's area
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
    model = cfg.model
    backbone, head = model.get("backbone") or {}, model.get("bbox_head") or {}
    if backbone.get("in_channels") is None or head.get("num_classes") is None:
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
    for part, key, number, why in (
        ("backbone", "in_channels", channels, f"frames of {channels} channels"),
        ("bbox_head", "num_classes", len(classes), f"{len(classes)} classes ({', '.join(map(str, classes))})"),
    ):
        config = model.get(part)
        if not isinstance(config, dict) or not takes_key(config, key):
            continue
        if config.get(key) is None:
            config[key] = number
        elif config[key] != number:
            raise InputError(
                f"model.{part}.{key}={config[key]}, but {place} has {why}; leave {key} out of the config, or correct "
                f"{'representation' if part == 'backbone' else 'class_set'}"
            )


def _described(cfg: Config) -> list[tuple[str, int, tuple[str, ...]]]:
    """Place, channels and classes of every data set of events, or of what the top of a config without loaders says."""
    found = list(dataset_configs(cfg))
    if not found and dataset_config(cfg):
        found = [("the top of the config", dict(dataset_config(cfg)))]
    events = [(place, data) for place, data in found if "type" not in data or shared_keys.takes_key(data, "class_set")]
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
    if not isinstance(backbone, dict) or not takes_key(backbone, "partition_size"):
        return
    try:
        hw = DATASETS.build(dict(dataset_config(cfg), pipeline=[])).sequences[0].hw
    except (InputError, TypeError) as error:
        raise InputError(
            "model.backbone.partition_size is left out, so it follows from the size of the frames, but the data cannot "
            f"be read: {error}. RVT's rule is the padded size divided by 64, (6, 10) for frames of 384 x 640"
        ) from error
    backbone["partition_size"] = partition_of(hw)


def partition_of(hw: tuple[int, int]) -> tuple[int, int]:
    """RVT's rule: (rows, columns) of an attention group are the frame's height and width over 64, rounded up."""
    return tuple(-(-side // 64) for side in hw)


def padded_hw(hw: tuple[int, int], divisor: tuple[int, int]) -> tuple[int, int]:
    """A frame's height and width, each rounded up to a multiple."""
    return tuple(-(-side // each) * each for side, each in zip(hw, divisor, strict=True))


def better_partition(hw: tuple[int, int], partition: tuple[int, int], stride: int) -> tuple[int, int] | None:
    """An attention group that pads less, where padding costs more than `TOLERATED_PADDING`; ``None`` where none does.

    Args:
        hw: height and width of a frame, in pixels.
        partition: the group in use, in cells of the deepest map.
        stride: of the deepest map, in pixels.
    """
    now = math.prod(padded_hw(hw, [stride * cells for cells in partition]))
    if now <= (1 + TOLERATED_PADDING) * math.prod(hw):
        return None
    best = tuple(
        min(
            range(max(1, rule // 2), 2 * rule + 1),
            key=lambda cells, side=side, rule=rule: (-(-side // (stride * cells)) * cells, abs(cells - rule), -cells),
        )
        for side, rule in zip(hw, partition_of(hw), strict=True)
    )
    return best if math.prod(padded_hw(hw, [stride * cells for cells in best])) < now else None


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


def fit_to_data(model: nn.Module, dataset: ETraMDataset) -> list[str]:
    """Call ``fit_to_data(BoxStatistics)`` of every module, and assigner, that has it; returns sentences for the log.

    It happens before training. What a part needs again at test time it must keep in buffers. Boxes are counted only
    where somebody asks.
    """
    parts = [part for module in model.modules() for part in (module, getattr(module, "assigner", None))]
    asking = [part for part in parts if hasattr(part, "fit_to_data")]
    boxes = dataset.box_statistics() if asking else None
    return [part.fit_to_data(boxes) for part in asking]


def takes_key(cfg: dict, key: str) -> bool:
    """Whether the class that a model config names has a parameter ``key``."""
    cls = cfg["type"] if inspect.isclass(cfg["type"]) else MODELS.get(cfg["type"])
    return any(key in inspect.signature(c.__init__).parameters for c in cls.__mro__)


def fill_from_backbone(
    backbone: nn.Module, neck: dict | None, head: dict, preprocessor: dict
) -> tuple[dict | None, dict, dict]:
    """Copies of the configs, completed with the channels, strides and divisor of a :class:`RecurrentBackbone`.

    A key is filled where its class takes it and the config leaves it out. A neck's ``out_channels`` become a quarter of
    the widest stage, RVT's rule.

    Raises:
        InputError: when a config states such a key and the backbone says otherwise.
    """
    neck, head, preprocessor = copy.deepcopy((neck, head, preprocessor))
    if not isinstance(backbone, RecurrentBackbone):
        return neck, head, preprocessor
    if neck is not None:
        _fill(neck, "neck", in_channels=list(backbone.out_channels))
        if takes_key(neck, "out_channels"):
            neck.setdefault("out_channels", backbone.out_channels[-1] // 4)
            _fill(head, "bbox_head", in_channels=neck["out_channels"])
    _fill(head, "bbox_head", strides=list(backbone.out_strides))
    _fill(preprocessor, "data_preprocessor", size_divisor=list(backbone.size_divisor))
    return neck, head, preprocessor


def check_strides(backbone: nn.Module, head: nn.Module) -> None:
    """Raise ``InputError`` when a head's priors lie on other strides than the backbone's maps.

    mmdet compares only the number of levels; a head with strides twice too large decodes every box at twice its size.
    """
    generator = getattr(head, "prior_generator", None)
    if generator is None or not isinstance(backbone, RecurrentBackbone):
        return
    strides = tuple(s[0] if isinstance(s, tuple) else s for s in generator.strides)
    if strides != backbone.out_strides:
        raise InputError(_contradiction("bbox_head's strides", strides, backbone.out_strides))


def _fill(cfg: dict, name: str, **known) -> None:
    for key, actual in known.items():
        stated = cfg.get(key)
        if stated is None and takes_key(cfg, key):
            cfg[key] = actual
        elif stated is not None and _plain(stated) != _plain(actual):
            raise InputError(_contradiction(f"{name}.{key}", stated, actual))


def _plain(value):
    return list(value) if isinstance(value, list | tuple) else value


def _contradiction(path: str, stated, actual) -> str:
    return (
        f"RecurrentDetector: {path}={_plain(stated)} in the config contradicts {_plain(actual)}, which follows from "
        "the backbone (patch_size, out_stages, embed_dims); leave the key out of the config or correct it"
    )
