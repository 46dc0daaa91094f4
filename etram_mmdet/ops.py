"""NMS for an mmcv without compiled operators; import this before anything that imports ``mmdet.models``.

``mmcv.ops`` needs the compiled module ``mmcv._ext``, which a quick ``pip install onedl-mmcv`` does not build, although
the detectors here use one operator of it, NMS. `install` puts a stand-in in its place and leaves a real one alone.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable

import torch
from torch import Tensor

EXTENSION = "mmcv._ext"
BLOCK = dict(cpu=512, cuda=8192)  # boxes decided at a time: what fits a CPU's cache, or what a GPU does in one go
ROUNDS_PER_LOOK = 4  # a look at whether something still changes waits for a GPU; a round too many changes nothing


def install() -> None:
    """Make ``mmcv.ops`` importable; does nothing where mmcv has its compiled operators (or was already helped)."""
    if importlib.util.find_spec(EXTENSION) is not None:
        return
    module = types.ModuleType(EXTENSION, "Stand-in for mmcv's compiled operators.")
    # mmengine probes the module with `find_spec`, which raises when `__spec__` is None.
    module.__spec__ = importlib.machinery.ModuleSpec(EXTENSION, loader=None)
    module.nms = nms
    module.__getattr__ = _missing_operator
    sys.modules[EXTENSION] = module


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression with the signature and the answer of mmcv's compiled ``nms``.

    Args:
        bboxes: (N, 4) boxes x1 y1 x2 y2.
        scores: (N,); of two equal scores the earlier box wins.
        iou_threshold: a box goes when its IoU with a better kept box is strictly greater.
        offset: 1 where x2 y2 name the last pixel inside a box (width = x2 - x1 + 1), else 0.

    Returns:
        (M,) int64 indices of the kept boxes, best first.
    """
    bboxes = bboxes.to(torch.promote_types(bboxes.dtype, torch.float32))
    compiled = _torchvision_nms()
    if compiled is not None:
        shift = bboxes.new_tensor([0, 0, offset, offset])
        return compiled(bboxes + shift, scores.to(bboxes.dtype), iou_threshold)
    return _torch_nms(bboxes, scores, iou_threshold, offset)


def _torch_nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """`nms` in plain torch: boxes are decided best first, `BLOCK` at a time."""
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(BLOCK.get(bboxes.device.type, BLOCK["cpu"])):
        if len(kept):
            block = block[~(_iou(bboxes[kept], bboxes[block], offset) > iou_threshold).any(0)]
        kept = torch.cat([kept, block[_survivors(_iou(bboxes[block], bboxes[block], offset) > iou_threshold)]])
    return kept


def _survivors(overlaps: Tensor) -> Tensor:
    """Greedy choice among boxes sorted best first: (N, N) bool overlaps -> (N,) bool.

    Box j stays if no earlier box that stays overlaps it. Iterated from "all stay", the first k boxes are right after k
    rounds and right for good, so a fixpoint is the greedy answer; real boxes need a few rounds, not N.
    """
    beats = overlaps.triu(1).float()
    stays = beats.new_ones(len(beats))
    while True:
        for _ in range(ROUNDS_PER_LOOK):
            before, stays = stays, (stays @ beats == 0).float()
        if torch.equal(before, stays):
            return stays.bool()


def _iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """(N, 4), (M, 4) -> (N, M); two boxes without area give NaN, which is over no threshold."""
    ax1, ay1, ax2, ay2 = a.t()[..., None]
    bx1, by1, bx2, by2 = b.t()
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).add_(offset).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).add_(offset).clamp_(min=0)
    overlap = width.mul_(height)
    area_a = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
    area_b = (bx2 - bx1 + offset) * (by2 - by1 + offset)
    return overlap / (area_a + area_b).sub_(overlap)


@functools.cache
def _torchvision_nms() -> Callable | None:
    """torchvision's operator, or None where torchvision is absent or built for another torch (a RuntimeError)."""
    try:
        from torchvision.ops import nms as compiled
    except (ImportError, RuntimeError, OSError):
        return None
    return compiled


def _missing_operator(name: str) -> Callable:
    """Module ``__getattr__`` of the stand-in: mmcv asks for each operator at import, so only a call may raise."""
    if name.startswith("__"):
        raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")

    def operator(*_args, **_kwargs):
        raise RuntimeError(
            f"mmcv operator {name!r} was called, but this mmcv was installed without compiled operators (of which only "
            "'nms' has a stand-in). Build them with: MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir "
            "--force-reinstall --no-deps onedl-mmcv"
        )

    return operator


install()
