"""Fill in settings of neck, head and preprocessor that follow from the backbone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

from mmdet.models.dense_heads import YOLOXHead
from mmdet.registry import MODELS
from torch import nn

from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.models.backbones.first_convolution import IMAGE_CHANNELS, take_channels
from etram_mmdet.models.detectors.feature_maps import FeatureMaps
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.registry import class_of, takes_key, value_of

# The keys of mmdet's heads that hold a generator of anchors or points with a key `strides`.
_GENERATORS = (
    "anchor_generator",
    "prior_generator",
    "approx_anchor_generator",
    "square_anchor_generator",
)
# Attributes of mmdet's heads with one entry per level, which are read in the first step only.
_PER_LEVEL = ("strides", "point_strides", "regress_ranges", "scale_ranges", "base_edge_list")
# FCOS learns a box on the level whose stride is at least an eighth of the box's largest distance.
STRIDES_PER_RANGE = 8
NO_LIMIT_PX = 1e8  # mmdet's own; some heads write it into whole numbers
# COCO's protocol evaluates this many boxes per class and frame.
BOXES_PER_CLASS = 100


def build_backbone(backbone: dict, in_channels: int | None) -> tuple[nn.Module, int]:
    """Build a backbone that takes frames of a given number of channels.

    Args:
        backbone: its config.
        in_channels: channels of a frame. None: those of the config, else the default of its class,
            else an image's 3.

    Returns:
        The backbone, and the channels of the frames that it takes.

    Raises:
        InputError: the config states other channels, or the backbone cannot be made to take them.
    """
    backbone = copy.deepcopy(backbone)
    has_key = takes_key(backbone, "in_channels", MODELS)
    if has_key and in_channels is not None:
        _fill_or_check(backbone, "backbone", in_channels=in_channels)
    built = MODELS.build(backbone)
    channels = in_channels or value_of(backbone, "in_channels", MODELS) or IMAGE_CHANNELS
    if not has_key and not isinstance(built, RecurrentBackbone):
        take_channels(built, channels)
    return built, channels


def fill_neck(neck: dict | list, maps: FeatureMaps) -> dict | list:
    """A copy of a neck's config with the channels of the backbone's maps.

    ``in_channels`` are those of the maps, ``out_channels`` a quarter of the widest (RVT's rule) and
    ``num_outs`` the number of maps. Each is filled if the class takes it and the config leaves it
    out.

    Args:
        neck: config of the neck; of a list of necks the first is filled.
        maps: channels and strides of the backbone's maps.

    Raises:
        InputError: the config states other ``in_channels``.
    """
    neck = copy.deepcopy(neck)
    first = neck[0] if isinstance(neck, list | tuple) else neck
    _fill_or_check(first, "neck", in_channels=list(maps.channels))
    for key, value in dict(
        out_channels=maps.channels[-1] // 4, num_outs=len(maps.channels)
    ).items():
        if first.get(key) is None and takes_key(first, key, MODELS):
            first[key] = value
    return neck


def fill_head(head: dict, maps: FeatureMaps) -> dict:
    """A copy of a head's config with the channels and strides of the maps that it gets.

    ``in_channels``, ``strides`` (RepPoints: ``point_strides``), the ``strides`` of generators of
    anchors or points and FCOS's ``regress_ranges`` are filled if the class takes them and the
    config leaves them out.

    Args:
        head: config of the head.
        maps: channels and strides of the neck's maps, or of the backbone's without a neck.

    Raises:
        InputError: the config states another value for one of them, except the ranges.
    """
    head = copy.deepcopy(head)
    _fill_in_channels(head, maps)
    _fill_or_check(head, "bbox_head", strides=list(maps.strides), point_strides=list(maps.strides))
    for key in _GENERATORS:
        generator = value_of(head, key, MODELS) if takes_key(head, key, MODELS) else None
        if generator is not None:
            generator = copy.deepcopy(generator)
            if key not in head:
                generator.pop("strides", None)  # the class's default is for the strides of images
            _fill_generator(generator, f"bbox_head.{key}", list(maps.strides))
            head[key] = generator
    if takes_key(head, "regress_ranges", MODELS):
        head.setdefault("regress_ranges", _regress_ranges(maps.strides))
    return head


def _fill_in_channels(head: dict, maps: FeatureMaps) -> None:
    if isinstance(value_of(head, "in_channels", MODELS), list | tuple):
        _fill_or_check(head, "bbox_head", in_channels=list(maps.channels))
    elif len(set(maps.channels)) == 1:
        _fill_or_check(head, "bbox_head", in_channels=maps.channels[0])
    else:
        raise InputError(
            f"RecurrentDetector: bbox_head {head['type']} takes maps of one number of channels, "
            f"but gets {list(maps.channels)}; set model.neck, for instance dict(type='FPN')"
        )


def _fill_generator(generator: dict, name: str, strides: list[int]) -> None:
    stated = generator.setdefault("strides", strides)
    if _one_number_each(stated) != strides:
        raise InputError(_contradiction(f"{name}.strides", stated, strides))


def _regress_ranges(strides: Sequence[int]) -> tuple[tuple[float, float], ...]:
    edges = [-1, *(STRIDES_PER_RANGE * stride for stride in strides[:-1]), NO_LIMIT_PX]
    return tuple(pairwise(edges))


def fill_test_cfg(test_cfg: dict | None, head: dict) -> dict | None:
    """A copy of a ``test_cfg`` with ``max_per_img``, the largest number of boxes in a frame.

    mmdet's heads look it up when a box is found. It is 100 for each class if the config leaves it
    out. YOLOX heads have no such limit.

    Args:
        test_cfg: the model's ``test_cfg``, or None, which stays None.
        head: config of the head.
    """
    if (
        test_cfg is None
        or issubclass(class_of(head, MODELS), YOLOXHead)
        or "max_per_img" in test_cfg
    ):
        return test_cfg
    filled = copy.deepcopy(test_cfg)
    filled["max_per_img"] = BOXES_PER_CLASS * head["num_classes"]
    return filled


def fill_preprocessor(preprocessor: dict, backbone: nn.Module, maps: FeatureMaps) -> dict:
    """A copy of a preprocessor's config with the ``size_divisor`` of the backbone.

    Frames of a backbone without state are padded to multiples of its coarsest stride, unless the
    config says otherwise.

    Args:
        preprocessor: config of the preprocessor; its type is EventDataPreprocessor by default.
        backbone: the built backbone.
        maps: channels and strides of the neck's maps, or of the backbone's without a neck.

    Raises:
        InputError: the type takes images, or the config states another divisor than that of a
            :class:`RecurrentBackbone`.
    """
    preprocessor = copy.deepcopy(preprocessor)
    preprocessor.setdefault("type", "EventDataPreprocessor")
    # EventDataPreprocessor and its subclasses have it
    if not hasattr(class_of(preprocessor, MODELS), "pad"):
        raise InputError(
            f"model.data_preprocessor.type={preprocessor['type']} takes images; leave "
            "data_preprocessor out, or use EventDataPreprocessor, which stacks clips and marks the "
            "frames that start a stream"
        )
    if isinstance(backbone, RecurrentBackbone):
        _fill_or_check(preprocessor, "data_preprocessor", size_divisor=list(backbone.size_divisor))
    elif (
        takes_key(preprocessor, "size_divisor", MODELS) and preprocessor.get("size_divisor") is None
    ):
        preprocessor["size_divisor"] = [max(maps.strides)] * 2
    return preprocessor


def check_strides(maps: FeatureMaps, head: nn.Module) -> None:
    """Refuse a head whose strides or ranges are not those of the maps that it gets.

    mmdet compares only the number of levels; a head with strides twice too large decodes every box
    at twice its size.

    Args:
        maps: channels and strides of the maps that the head gets.
        head: the built head.

    Raises:
        InputError: priors have other strides, or a key does not have one entry for each level.
    """
    for key in _PER_LEVEL:
        stated = getattr(head, key, None)
        if isinstance(stated, list | tuple) and len(stated) != len(maps.strides):
            raise InputError(
                f"bbox_head.{key} has {len(stated)} entries, but the head gets maps of "
                f"{len(maps.strides)} levels (strides {', '.join(map(str, maps.strides))}); give "
                "one entry for each level, finest first"
            )
    generator = getattr(head, "prior_generator", None)
    if generator is None:
        return
    strides = _one_number_each(generator.strides)
    if strides != list(maps.strides):
        raise InputError(_contradiction("bbox_head's strides", strides, maps.strides))


def _fill_or_check(cfg: dict, name: str, **known) -> None:
    for key, actual in known.items():
        stated = cfg.get(key)
        if stated is None and takes_key(cfg, key, MODELS):
            cfg[key] = actual
        elif stated is not None and _as_list(stated) != _as_list(actual):
            raise InputError(_contradiction(f"{name}.{key}", stated, actual))


def _one_number_each(strides: Sequence) -> list[int]:
    """mmdet takes strides as numbers or as pairs (x, y)."""
    return [stride[0] if isinstance(stride, list | tuple) else stride for stride in strides]


def _as_list(value):
    return list(value) if isinstance(value, list | tuple) else value


def _contradiction(path: str, stated, actual) -> str:
    return (
        f"RecurrentDetector: {path}={_as_list(stated)} in the config contradicts "
        f"{_as_list(actual)}, which follows from the backbone and the neck; leave the key out of "
        "the config or correct it"
    )
