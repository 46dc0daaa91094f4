"""Losses summed over a batch, whatever their own reduction is."""

from __future__ import annotations

import inspect

from torch import Tensor, nn

from etram_mmdet.utils.errors import InputError

# Losses of mmdet that read other inputs than a YOLOX head has, and what to use instead.
_UNSUITED = {
    "EQLV2Loss": "also scores a background class; use EQLV2ClassLoss",
    "SeesawLoss": "also scores an object class; use SeesawClassLoss",
    "GaussianFocalLoss": "reads probabilities, but the head gives logits; use FocalLoss",
}


def loss_sum(
    loss: nn.Module, prediction: Tensor, target: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Sum a loss over all rows, also one whose ``reduction`` is ``mean``.

    A loss whose ``forward`` takes ``reduction_override``, as all of mmdet's do, is called with
    ``reduction_override="sum"``. A loss without it must return a sum by itself.

    Args:
        loss: module of a head's slot (``loss_cls``, ``loss_obj``, ``loss_bbox``, ``loss_l1``).
        prediction: (M, K) logits or (M, 4) boxes.
        target: target of ``prediction``, of the same shape by default.
        weight: (M,) factor on each row. A loss without ``reduction_override`` gets it as ``weight``
            of shape (M, 1). Default: every row counts once.

    Returns:
        Tensor without dimensions.

    Raises:
        InputError: the loss returns anything else.
    """
    if not _takes_reduction(loss):
        more = {} if weight is None else dict(weight=weight[:, None])
        return _checked(loss, loss(prediction, target, **more))
    if weight is None:
        return _checked(loss, loss(prediction, target, reduction_override="sum"))
    # mmdet's losses take weights of different shapes, (M,), (M, 1) or (M, K), so they are applied
    # here.
    rows = loss(prediction, target, reduction_override="none")
    return (rows.reshape(len(prediction), -1) * weight[:, None]).sum()


def check_loss(slot: str, loss: nn.Module) -> None:
    """Refuse a loss that does not fit a YOLOX head.

    Args:
        slot: the head's key of the loss, such as ``loss_cls``, for messages.
        loss: the built loss.

    Raises:
        InputError: the loss returns a mean, needs further arguments or reads class scores by
            softmax.
    """
    name = type(loss).__name__
    is_mmdets = type(loss).__module__.startswith("mmdet.")
    if is_mmdets and name in _UNSUITED:
        raise InputError(f"{slot}: mmdet's {name} {_UNSUITED[name]}")
    try:
        inspect.signature(loss.forward).bind("prediction", "target")
    except TypeError as error:
        raise InputError(
            f"{slot}: {name} is called with a prediction and its target, but {error}"
        ) from error
    takes_labels = getattr(loss, "takes_labels", False)
    if (
        not _takes_reduction(loss)
        and not takes_labels
        and getattr(loss, "reduction", "sum") != "sum"
    ):
        raise InputError(
            f"{slot}: {name} has reduction={loss.reduction!r}, but the head divides by the number "
            "of positives itself; set reduction='sum', or let its forward take "
            "reduction_override, as mmdet's losses do"
        )
    if not getattr(loss, "use_sigmoid", True) and not hasattr(loss, "probabilities"):
        raise InputError(
            f"{slot}: {name} reads scores by softmax, but the head by sigmoid; set "
            "use_sigmoid=True, or give the loss a method probabilities(logits)"
        )


def _takes_reduction(loss: nn.Module) -> bool:
    parameters = inspect.signature(loss.forward).parameters
    return "reduction_override" in parameters or any(
        p.kind is p.VAR_KEYWORD for p in parameters.values()
    )


def _checked(loss: nn.Module, value: object) -> Tensor:
    if isinstance(value, Tensor) and value.dim() == 0:
        return value
    got = (
        f"a tensor of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else type(value).__name__
    )
    raise InputError(
        f"{type(loss).__name__} returned {got}, expected one number, the sum over all rows"
    )
