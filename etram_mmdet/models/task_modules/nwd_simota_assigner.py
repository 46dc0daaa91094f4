"""SimOTA whose localisation cost also sees boxes that do not overlap."""

from __future__ import annotations

from mmdet.registry import TASK_UTILS
from torch import Tensor

from etram_mmdet.models.losses.nwd_loss import NWDConstant, nwd
from etram_mmdet.models.task_modules.rvt_simota_assigner import RVTSimOTAAssigner
from etram_mmdet.utils.errors import InputError


@TASK_UTILS.register_module()
class NWDSimOTAAssigner(NWDConstant, RVTSimOTAAssigner):
    """:class:`RVTSimOTAAssigner` with (1 - ``nwd_share``) IoU + ``nwd_share`` NWD in the place of IoU in the cost.

    How many priors a box gets is still the sum of its best IoUs. See :func:`nwd` and :class:`NWDLoss`.
    """

    def __init__(self, *args, nwd_share: float = 0.5, constant_px: float | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= nwd_share <= 1:
            raise InputError(f"NWDSimOTAAssigner: nwd_share={nwd_share}, expected 0 to 1")
        self.nwd_share = nwd_share
        self._init_constant(constant_px)

    def _similarity(self, boxes: Tensor, predicted: Tensor, ious: Tensor) -> Tensor:
        distance = nwd(boxes[:, :, None], predicted[:, None], self.known_constant_px())
        return (1 - self.nwd_share) * ious + self.nwd_share * distance
