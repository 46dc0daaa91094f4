"""Which of mmdet's detectors and heads work on clips of a stream."""

from __future__ import annotations

from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.registry import MODELS
from torch import Tensor, cat, nn

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.registry import class_of, is_registered

_ADVICE = (
    "only one-stage dense heads work on streams; use type='RecurrentDetector' with a bbox_head "
    "such as RTMDetHead"
)
_TWO_STAGE = ("rpn_head", "roi_head")
# Dense heads of mmdet that learn from more than boxes.
_OTHER_TARGETS = {
    "RTMDetInsHead": "masks",
    "YOLACTHead": "masks",
    "CondInstBboxHead": "masks",
    "BoxInstBboxHead": "masks",
    "CornerHead": "pairs of corners on maps of one stride",
}
_DEFORM_FRAMES = 32  # mmcv's deform_conv2d takes up to this many frames at once


def check_one_stage(model: dict) -> None:
    """Refuse a detector that is not made of a backbone, a neck and a one-stage dense head.

    Args:
        model: config of the detector.

    Raises:
        InputError: it is a two-stage detector, a DETR or another detector of mmdet.
    """
    two_stage = [key for key in _TWO_STAGE if key in model]
    if two_stage:
        raise InputError(
            f"model.{two_stage[0]}: {model.get('type')} finds boxes in two stages, but {_ADVICE}"
        )
    if model.get("type") is None or not is_registered(model, MODELS):
        return  # later checks of the config report that
    kind = class_of(model, MODELS)
    if not hasattr(kind, "clip_features"):  # what RecurrentDetector and its subclasses have
        raise InputError(f"model.type={kind.__name__} takes images one by one, but {_ADVICE}")
    head = model.get("bbox_head")
    if head is not None and is_registered(head, MODELS):
        check_head(head, model.get("train_cfg"))


def check_head(head: dict | None, train_cfg: dict | None) -> None:
    """Refuse a head that is no one-stage dense head.

    Args:
        head: config of the head.
        train_cfg: the model's ``train_cfg``, whose ``initial_epoch`` must be 0.

    Raises:
        InputError: the head is missing, query-based (DETR), a mask or corner head, or waits for an
            epoch to pass.
    """
    if head is None:
        raise InputError(f"RecurrentDetector: has no bbox_head; {_ADVICE}")
    kind = class_of(head, MODELS)
    if not issubclass(kind, BaseDenseHead):
        raise InputError(f"bbox_head.type={kind.__name__} is no dense head of boxes; {_ADVICE}")
    other = next(
        (_OTHER_TARGETS[base.__name__] for base in kind.__mro__ if base.__name__ in _OTHER_TARGETS),
        None,
    )
    if other:
        raise InputError(
            f"bbox_head.type={kind.__name__} learns from {other}, but recordings have boxes only; "
            f"{_ADVICE}"
        )
    if kind.predict is not BaseDenseHead.predict and not hasattr(kind, "predicts_from_maps"):
        raise InputError(
            f"bbox_head.type={kind.__name__} has its own predict; give the class an attribute "
            "predicts_from_maps: True if predict returns the same as predict_by_feat of the head's "
            "maps, else False"
        )
    if (train_cfg or {}).get("initial_epoch"):
        raise InputError(
            f"train_cfg.initial_epoch={train_cfg['initial_epoch']}: {kind.__name__} would stay in "
            "its first phase, since StreamRunner counts steps and gives it no epoch; set "
            "train_cfg.initial_epoch=0"
        )


def read_in_portions(head: nn.Module) -> None:
    """Let TOODHead take any number of frames, in place.

    mmcv's ``deform_conv2d`` wants at most 32 frames or a multiple of that.

    Args:
        head: a built head; heads without ``deform_sampling`` are not changed.
    """
    if hasattr(head, "deform_sampling"):
        head.deform_sampling = _Portions(head.deform_sampling)


class _Portions:
    """A method of a head, called for a few frames at a time."""

    def __init__(self, method) -> None:
        self.method = method

    def __call__(self, *maps: Tensor) -> Tensor:
        portions = zip(*(m.split(_DEFORM_FRAMES) for m in maps), strict=True)
        return cat([self.method(*portion) for portion in portions])
