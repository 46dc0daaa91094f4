"""Translate parameter names between RVT and this package, in both directions."""

from __future__ import annotations

import re

from torch import Tensor, nn

from etram_mmdet.utils.errors import InputError

_NECK = {
    "reduce_layers.0": "lateral_conv0",
    "top_down_blocks.0": "C3_p4",
    "reduce_layers.1": "reduce_conv1",
    "top_down_blocks.1": "C3_p3",
    "downsamples.0": "bu_conv2",
    "bottom_up_blocks.0": "C3_n3",
    "downsamples.1": "bu_conv1",
    "bottom_up_blocks.1": "C3_n4",
}
# Applied in order to our name; the neck's last layers are what RVT calls the head's stems.
_RULES: list[tuple[str, object]] = [
    (r"^(backbone\.stages\.\d+)\.downsample\.", r"\1.downsample_cf2cl."),
    (r"^(backbone\.stages\.\d+)\.lstm\.gates\.", r"\1.lstm.conv1x1."),
    (r"^(backbone\.stages\.\d+)\.lstm\.hidden_conv\.", r"\1.lstm.conv3x3_dws."),
    (
        r"^(backbone\.stages\.\d+)\.blocks\.(\d+)\.",
        lambda m: f"{m[1]}.att_blocks.{int(m[2]) // 2}.att_{('window', 'grid')[int(m[2]) % 2]}.",
    ),
    (r"^(backbone\..*)\.attn\.", r"\1.self_attn."),
    (r"^(backbone\..*)\.mlp\.0\.", r"\1.mlp.net.0.0."),
    (r"^(backbone\..*)\.mlp\.2\.", r"\1.mlp.net.2."),
    (r"^neck\.out_convs\.", "yolox_head.stems."),
    (r"^neck\.(\w+\.\d+)", lambda m: f"fpn.{_NECK.get(m[1], m[1])}"),
    (r"^(fpn\..*)\.main_conv\.", r"\1.conv1."),
    (r"^(fpn\..*)\.short_conv\.", r"\1.conv2."),
    (r"^(fpn\..*)\.final_conv\.", r"\1.conv3."),
    (r"^(fpn\.\w+)\.blocks\.", r"\1.m."),
    (r"^bbox_head\.multi_level_(cls|reg)_convs\.", r"yolox_head.\1_convs."),
    (r"^bbox_head\.multi_level_conv_(cls|reg|obj)\.", r"yolox_head.\1_preds."),
]


def rvt_name(name: str) -> str:
    """RVT's name of a parameter or buffer of :class:`RecurrentDetector`.

    Args:
        name: its dotted name here.
    """
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def from_rvt(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A ``state_dict`` for a model, made from RVT's.

    Args:
        weights: RVT's ``state_dict``, with or without the ``mdl.`` prefix of its Lightning
            checkpoints.
        model: a :class:`RecurrentDetector` of the same size.

    Raises:
        InputError: tensors are missing, left over or of another shape; the message names them.
    """
    weights = {name.removeprefix("mdl."): tensor for name, tensor in weights.items()}
    wanted = {rvt_name(name): (name, tensor) for name, tensor in model.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in weights]
    problems += [f"left over {name}" for name in weights if name not in wanted]
    problems += [
        f"{name} is {tuple(weights[name].shape)} in the checkpoint and {tuple(tensor.shape)} in "
        "the model"
        for name, (_, tensor) in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if problems:
        shown = "; ".join(problems[:5])
        raise InputError(
            f"the RVT checkpoint does not fit the config's model, {len(problems)} tensors differ: "
            f"{shown}{'; ...' if len(problems) > 5 else ''}. Choose the config of the same size, "
            "patch_size and num_classes"
        )
    return {name: weights[theirs] for theirs, (name, _) in wanted.items()}


def to_rvt(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """RVT's ``state_dict``, made from that of a detector; the inverse of :func:`from_rvt`.

    Args:
        state_dict: of a :class:`RecurrentDetector`.
    """
    return {rvt_name(name): tensor for name, tensor in state_dict.items()}
