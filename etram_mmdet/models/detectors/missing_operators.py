"""Find out that mmcv lacks an operator when a model is built, not when the first box appears."""

from __future__ import annotations

import torch
from mmcv.ops import batched_nms
from torch import nn

from etram_mmdet.ops import HOW_TO_BUILD, missing_operators
from etram_mmdet.utils.errors import InputError


def check_operators(model: nn.Module) -> None:
    """Refuse layers of ``mmcv.ops`` whose operators exist neither in mmcv nor in this package.

    Args:
        model: a detector, or a part of one.

    Raises:
        InputError: a layer has no operator; the message names both and the command that builds
            operators.
    """
    for name, module in model.named_modules():
        missing = missing_operators(type(module))
        if missing:
            raise InputError(
                f"model.{name} is a {type(module).__name__}, which needs mmcv's compiled operators "
                f"{', '.join(missing)}; this mmcv has none. Use another layer, or build them with: "
                f"{HOW_TO_BUILD}"
            )


def check_nms(test_cfg: dict | None) -> None:
    """Try a kind of NMS on two boxes that overlap.

    Args:
        test_cfg: the model's ``test_cfg``, whose key ``nms`` is tried; nothing is tried without it.

    Raises:
        InputError: the type of NMS is unknown, misses an operator, or does not take a key.
    """
    nms = (test_cfg or {}).get("nms")
    if nms is None:
        return
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]])
    try:
        batched_nms(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.long), dict(nms))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"test_cfg.nms={dict(nms)}: does not work on two boxes ({type(error).__name__}: "
            f"{first}). Known types are nms and soft_nms, for instance dict(type='nms', "
            "iou_threshold=0.45)"
        ) from error
