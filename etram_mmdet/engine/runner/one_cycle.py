"""OneCycleLR under which every group of parameters keeps its own learning rate."""

from __future__ import annotations

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim import BaseOptimWrapper
from mmengine.optim import scheduler as mmengine_schedulers
from torch.optim import Optimizer

from etram_mmdet.utils.errors import InputError


class _OwnRates:
    """The highest rate of a group is ``eta_max`` times its own rate over the optimizer's.

    mmengine's schedule sets ``eta_max`` for every group, so that ``lr_mult`` and ``bias_lr_mult``
    of a ``paramwise_cfg`` have no effect. ``lr_mult=0`` freezes. A list of ``eta_max`` is used
    unchanged.
    """

    def _format_param(
        self, name: str, optimizer: Optimizer | BaseOptimWrapper, param
    ) -> list[float]:
        highest = super()._format_param(name, optimizer, param)
        if highest is param:
            return highest
        rate = optimizer.defaults["lr"]
        own = [group["lr"] for group in optimizer.param_groups]
        return [value * (lr / rate if rate else 1) for value, lr in zip(highest, own, strict=True)]

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state, unless it comes from a run that ignored the rates of groups.

        Raises:
            InputError: all groups of that run had the same rate, but those of the config differ.
        """
        if len(set(state_dict.get("base_values", self.base_values))) < len(set(self.base_values)):
            raise InputError(
                "this run was begun with a version that ignored lr_mult and bias_lr_mult under "
                "OneCycleLR; start a new run with --cfg-options load_from=CHECKPOINT, or leave "
                "optim_wrapper.paramwise_cfg out"
            )
        super().load_state_dict(state_dict)


@PARAM_SCHEDULERS.register_module()
class OneCycleParamScheduler(_OwnRates, mmengine_schedulers.OneCycleParamScheduler):
    """mmengine's class of this name, with a rate of its own for each group of parameters.

    ``eta_max`` is scaled by a group's rate over the optimizer's rate, so that ``lr_mult`` and
    ``bias_lr_mult`` of a ``paramwise_cfg`` have an effect.
    """


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(_OwnRates, mmengine_schedulers.OneCycleLR):
    """mmengine's class of this name, with a rate of its own for each group of parameters.

    ``eta_max`` is scaled by a group's rate over the optimizer's rate, so that ``lr_mult`` and
    ``bias_lr_mult`` of a ``paramwise_cfg`` have an effect.
    """
