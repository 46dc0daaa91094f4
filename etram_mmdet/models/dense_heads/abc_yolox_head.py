"""Auxiliary balanced classifier (Lee, Shin, Kim, NeurIPS 2021) for a YOLOX head."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.utils import multi_apply
from mmdet.registry import MODELS
from mmengine.dist import get_rank
from mmengine.model import bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn

from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.models.dense_heads.rvt_yolox_head import (
    Decoded,
    Maps,
    RVTYOLOXHead,
    flatten,
    in_float32,
)
from etram_mmdet.models.task_modules.assignment import Targets
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.host_copy import HostCopy
from etram_mmdet.utils.random_numbers import generator
from etram_mmdet.utils.transfer import to_device

_TEST_SCORES = ("balanced", "main", "mean")
_BALANCE = ("draw", "expected")


@MODELS.register_module()
class ABCYOLOXHead(RVTYOLOXHead):
    """:class:`RVTYOLOXHead` with a second classifier that learns from class-balanced boxes.

    The second classifier reads the class features of the head, and its gradients reach them. Each
    ground-truth box takes part with probability (N_min / N_class)^``gamma``: N_class is the number
    of training boxes of its class, and N_min that of the rarest class with any boxes. All positive
    priors of a box share one draw. The sum of losses is divided by the number of all positive
    priors, as in the paper's L_cls.

    Draws depend on the seed, the process and the number of steps so far, which checkpoints keep. So
    a resumed training draws the same boxes as an uninterrupted one.

    Args:
        args: num_classes, as in :class:`RVTYOLOXHead`.
        gamma: exponent of the balancing, 0 (none) to 1 (the paper). With eTraM's imbalance of
            1853:1 the paper's 1 leaves 856 of 375,000 boxes, hence the default. Default: 0.5.
        balance: ``'draw'`` draws which boxes take part; ``'expected'`` weighs every box by its
            probability instead, the same on average and with less noise. Default: 'draw'.
        test_scores: class probabilities at test time: ``'balanced'`` takes those of the second
            classifier (the paper), ``'main'`` those of the first, ``'mean'`` the mean of both.
            Default: 'balanced'.
        seed: seed of the draws. Default: the seed of the run.
        kwargs: further keys of :class:`RVTYOLOXHead`.

    Raises:
        InputError: an argument is out of range, or ``loss_cls`` reads class scores otherwise than
            by sigmoid.
    """

    def __init__(
        self,
        *args,
        gamma: float = 0.5,
        balance: str = "draw",
        test_scores: str = "balanced",
        seed: int | None = None,
        **kwargs,
    ) -> None:
        if not 0 <= gamma <= 1:
            raise InputError(
                f"ABCYOLOXHead: gamma={gamma}, expected 0 (no balancing) to 1 (the paper)"
            )
        for name, value, known in (
            ("balance", balance, _BALANCE),
            ("test_scores", test_scores, _TEST_SCORES),
        ):
            if value not in known:
                raise InputError(
                    f"ABCYOLOXHead: {name}={value!r}, expected one of {', '.join(known)}"
                )
        super().__init__(*args, **kwargs)
        if hasattr(self.loss_cls, "probabilities"):
            raise InputError(
                f"ABCYOLOXHead: {type(self.loss_cls).__name__} does not read class scores by "
                "sigmoid, as the balanced classifier does; choose another loss_cls"
            )
        self.gamma = gamma
        self.balance = balance
        self.test_scores = test_scores
        self.seed = torch.initial_seed() if seed is None else seed
        self.register_buffer("keep_probability", torch.full((self.num_classes,), torch.nan))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        # so that a step does not wait for a GPU
        self._probabilities = HostCopy()
        self._step = HostCopy()

    def fit_to_data(self, boxes: BoxStatistics) -> str:
        self.keep_probability.copy_(torch.from_numpy(keep_probability(boxes.counts, self.gamma)))
        shares = ", ".join(
            f"{name} {p:.3g}"
            for name, p in zip(boxes.classes, self.keep_probability.tolist(), strict=True)
        )
        return f"balanced classifier: share of boxes that it learns from: {shares}"

    def _init_layers(self) -> None:
        super()._init_layers()
        self.multi_level_conv_abc = nn.ModuleList(
            nn.Conv2d(self.feat_channels, self.cls_out_channels, 1) for _ in self.strides
        )

    def init_weights(self) -> None:
        super().init_weights()
        for conv in self.multi_level_conv_abc:
            nn.init.constant_(conv.bias, bias_init_with_prob(0.01))

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Maps, Maps, Maps, Maps]:
        """Class scores, boxes, objectness and balanced class scores of every level."""
        return multi_apply(
            self._forward_level,
            x,
            self.multi_level_cls_convs,
            self.multi_level_reg_convs,
            self.multi_level_conv_cls,
            self.multi_level_conv_reg,
            self.multi_level_conv_obj,
            self.multi_level_conv_abc,
        )

    @staticmethod
    def _forward_level(
        x: Tensor, cls_convs, reg_convs, conv_cls, conv_reg, conv_obj, conv_abc
    ) -> tuple:
        cls_feat, reg_feat = cls_convs(x), reg_convs(x)
        return conv_cls(cls_feat), conv_reg(reg_feat), conv_obj(reg_feat), conv_abc(cls_feat)

    @in_float32
    def loss_by_feat(
        self,
        cls_scores: Maps,
        bbox_preds: Maps,
        objectnesses: Maps,
        balanced_scores: Maps,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: None = None,
    ) -> dict[str, Tensor]:
        predicted = self.join_levels(cls_scores, bbox_preds, objectnesses)
        targets = self.match(predicted, batch_gt_instances)
        terms = self.loss_terms(predicted, targets)
        terms["loss_abc"] = self.balanced_terms(
            flatten(balanced_scores), targets, batch_gt_instances
        )
        return self.mean_over_positives(terms, targets)

    def balanced_terms(self, scores: Tensor, targets: Targets, truth: list[InstanceData]) -> Tensor:
        """Sum of the second classifier's losses; ``scores`` are its logits (B, P, K)."""
        # counts a step, also without boxes
        shares = self.shares(torch.cat([boxes.labels for boxes in truth]))
        if not len(targets.labels):
            return scores.sum() * 0
        share = shares[targets.box_index, None]
        wanted = targets.soft_labels(self.num_classes)
        losses = F.binary_cross_entropy_with_logits(targets.of(scores), wanted, reduction="none")
        return (share * losses).sum()

    def shares(self, labels: Tensor) -> Tensor:
        """Weight of each of N boxes in the balanced loss, (N,); each call counts as one step.

        With ``balance='draw'`` a weight is 0 or 1, with ``'expected'`` the probability of 1.
        """
        if self._probabilities.of(self.keep_probability).isnan().any():
            raise InputError(
                "ABCYOLOXHead: the numbers of boxes per class are not known yet; train with "
                "tools/train.py, or call etram_mmdet.models.fit_to_data(model, dataset) first"
            )
        probability = self.keep_probability[labels]
        step = self._step.of(self.steps)
        draws = generator((self.seed, get_rank(), int(step)), "balance").random(len(labels))
        self.steps += 1
        self._step.keep(self.steps, step + 1)
        if self.balance == "expected":
            return probability
        drawn = to_device(torch.from_numpy(draws).to(probability.dtype), probability.device)
        return (drawn < probability).float()

    def decoded(
        self, cls_scores: Maps, bbox_preds: Maps, objectnesses: Maps, balanced_scores: Maps
    ) -> Decoded:
        scores = [
            self._test_logits(*level) for level in zip(cls_scores, balanced_scores, strict=True)
        ]
        return super().decoded(scores, bbox_preds, objectnesses)

    def _test_logits(self, main: Tensor, balanced: Tensor) -> Tensor:
        if self.test_scores == "mean":
            return ((main.float().sigmoid() + balanced.float().sigmoid()) / 2).logit()
        return balanced if self.test_scores == "balanced" else main


def keep_probability(counts: np.ndarray, gamma: float) -> np.ndarray:
    """Probability of each class that one of its boxes takes part: (N_min / N_class)^gamma.

    A class without training boxes gets 1.

    Args:
        counts: (K,) training boxes of each class.
        gamma: exponent, 0 (every box takes part) to 1.

    Returns:
        (K,) probabilities.
    """
    present = counts > 0
    rarest = counts[present].min(initial=counts.max())
    return np.where(present, (rarest / np.maximum(counts, 1)) ** gamma, 1.0)
