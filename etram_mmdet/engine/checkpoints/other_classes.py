"""Start a training from the weights of a detector of other classes.

All weights are copied but those of the class layers. In these, the rows of classes with the same
name are copied.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.random import fork_rng

from etram_mmdet.datasets.shared_keys import dataset_config, metainfo_of
from etram_mmdet.engine.checkpoints.opening import (
    ALLOW_KEY,
    check_checkpoint_classes,
    checkpoint_classes,
)
from etram_mmdet.events.class_mapping import id_or_name
from etram_mmdet.models.building import build_detector


class ClassLayer(NamedTuple):
    """Place of the class rows in a tensor.

    Attributes:
        dim: dimension along which the rows lie.
        groups: number of groups of rows, one for each anchor; each group has a row per class.
    """

    dim: int
    groups: int


def fit_classes(content: dict, model: nn.Module, cfg: Config, path: str | Path) -> list[str]:
    """Make the weights of a checkpoint fit the classes of a training, in place.

    If the classes differ, the tensors whose shape depends on the number of classes are replaced by
    those of ``model``. Into these, the rows of classes with the same name are copied, and the row
    of the background if there is one. Averaged weights are treated alike.

    Args:
        content: of a checkpoint, with tensors in host memory.
        model: the model to be trained, freshly initialised.
        cfg: the run's complete config. Its key ``allow_other_classes`` allows a training to start
            from other classes.
        path: the checkpoint's file, for messages.

    Returns:
        Sentences for the log about what was copied; none if the classes are the same.

    Raises:
        InputError: the classes differ and the config does not allow it, or the run is no training.
    """
    theirs = checkpoint_classes(content, path)
    ours = [str(name) for name in metainfo_of(dataset_config(cfg))["classes"]]
    if theirs == ours or not (cfg.get(ALLOW_KEY) and cfg.get("train_cfg")):
        check_checkpoint_classes(content, cfg, str(path))
        return []
    fresh = (model.module if is_model_wrapper(model) else model).state_dict()
    layers = class_layers(cfg, fresh)
    numbers = {id_or_name(name): number for number, name in enumerate(theirs)}
    pairs = [
        (number, numbers[id_or_name(name)])
        for number, name in enumerate(ours)
        if id_or_name(name) in numbers
    ]
    counts = len(ours), len(theirs)
    for part, prefix in (("state_dict", ""), ("ema_state_dict", "module.")):
        weights = content.get(part, {})
        for name, layer in layers.items():
            if prefix + name in weights:
                given = weights[prefix + name]
                weights[prefix + name] = with_equal_rows(
                    fresh[name].cpu(), given, layer, pairs, counts
                )
    return _told(path, theirs, ours, [number for number, _ in pairs], list(layers))


def class_layers(cfg: Config, weights: dict[str, Tensor]) -> dict[str, ClassLayer]:
    """Find the weights that have rows per class.

    These are the weights whose shape changes in a model with one more class.

    Args:
        cfg: a complete config.
        weights: ``state_dict`` of its model.

    Returns:
        The place of the rows in each of these weights, by name.
    """
    wider = copy.deepcopy(cfg)
    wider.model.bbox_head.num_classes += 1
    with fork_rng(devices=[]):
        grown = build_detector(wider).state_dict()
    return {
        name: ClassLayer(dim, more - size)
        for name, tensor in weights.items()
        for dim, (size, more) in enumerate(zip(tensor.shape, grown[name].shape, strict=True))
        if more != size
    }


def with_equal_rows(
    fresh: Tensor,
    given: Tensor,
    layer: ClassLayer,
    pairs: Sequence[tuple[int, int]],
    counts: tuple[int, int],
) -> Tensor:
    """A copy of a class layer for new classes, with the rows of classes that a checkpoint has too.

    No row is copied if the two layers differ in more than their classes.

    Args:
        fresh: the class layer of the new classes.
        given: the class layer of the checkpoint.
        layer: the place of the rows.
        pairs: number of a class in ``fresh`` and in ``given``, for each class that both have.
        counts: number of classes of ``fresh`` and of ``given``.
    """
    background = fresh.shape[layer.dim] // layer.groups - counts[0]  # one row more with softmax
    expected = list(fresh.shape)
    expected[layer.dim] = layer.groups * (counts[1] + background)
    made = fresh.clone()
    if list(given.shape) != expected:
        return made
    rows, old_rows = (
        t.movedim(layer.dim, 0).unflatten(0, (layer.groups, -1)) for t in (made, given)
    )
    behind = [(counts[0] + k, counts[1] + k) for k in range(background)]
    for new, old in [*pairs, *behind]:
        rows[:, new] = old_rows[:, old]
    return made


def _told(
    path: str | Path, theirs: list[str], ours: list[str], copied: list[int], layers: list[str]
) -> list[str]:
    names = [ours[number] for number in copied]
    new = [name for number, name in enumerate(ours) if number not in copied]
    made = ", ".join(dict.fromkeys(layer.rpartition(".")[0] for layer in layers))
    return [
        f"{path} was trained to find {', '.join(theirs) or 'unnamed classes'}; all weights but "
        "those of its class layers are copied",
        f"class layers: {made}; weights copied for {', '.join(names) or 'no class'}"
        + (f", new for {', '.join(new)}" if new else ""),
    ]
