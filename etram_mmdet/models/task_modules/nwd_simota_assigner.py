"""SimOTA whose localisation cost also sees boxes that do not overlap."""

from __future__ import annotations

from mmdet.registry import TASK_UTILS
from torch import Tensor

from etram_mmdet.models.losses.nwd_loss import NWDConstant, nwd
from etram_mmdet.models.task_modules.rvt_simota_assigner import RVTSimOTAAssigner
from etram_mmdet.utils.errors import InputError


@TASK_UTILS.register_module()
class NWDSimOTAAssigner(NWDConstant, RVTSimOTAAssigner):
    """:class:`RVTSimOTAAssigner` whose cost also compares boxes that do not overlap.

    (1 - ``nwd_share``) IoU + ``nwd_share`` NWD replaces the IoU in the cost, see :func:`nwd`. The
    number of priors of a box is still the sum of its best IoUs.

    Args:
        args: center_radius, candidate_topk and iou_weight, as in :class:`RVTSimOTAAssigner`.
        nwd_share: share of NWD in the similarity, 0 to 1. Default: 0.5.
        constant_px: C of the paper, in network pixels. Default: the mean box size of the training
            data.
        kwargs: the same arguments by name.
    """

    def __init__(
        self, *args, nwd_share: float = 0.5, constant_px: float | None = None, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= nwd_share <= 1:
            raise InputError(f"NWDSimOTAAssigner: nwd_share={nwd_share}, expected 0 to 1")
        self.nwd_share = nwd_share
        self._init_constant(constant_px)

    def _similarity(self, boxes: Tensor, predicted: Tensor, ious: Tensor) -> Tensor:
        distance = nwd(boxes[:, :, None], predicted[:, None], self.known_constant_px())
        return (1 - self.nwd_share) * ious + self.nwd_share * distance
