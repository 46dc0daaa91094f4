"""A second head for small road users, after the first experiment's "ABC_sod_basic"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.events.class_sets import ETRAM8, small_classes
from etram_mmdet.models.dense_heads.rvt_yolox_head import (
    FUSED_SWISH,
    RVT_NORM,
    Decoded,
    RVTYOLOXHead,
)
from etram_mmdet.models.layers.exporting import is_exporting
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.host_copy import HostCopy

UNKNOWN = -1


@MODELS.register_module()
class AuxSmallYOLOXHead(RVTYOLOXHead):
    """:class:`RVTYOLOXHead` with a second YOLOX head for small classes alone, on the finest maps.

    The maps first pass two 3x3 convolutions of the second head. It learns from boxes of its classes
    only.

    The first experiment gave classes by number and got [2, 3, 4]: bicycle, *bus* and motorbike, no
    pedestrians. Here they are given by name, and the training data decide the number of a name.

    Args:
        args: num_classes, as in :class:`RVTYOLOXHead`.
        small_classes: names of the second head's classes. Default: the small classes of eTraM's
            eight.
        aux_levels: number of finest maps that the second head reads. Default: 2.
        aux_weight: factor on the second head's losses (``aux_loss_*``). Default: 2.0.
        merge_at_test: whether boxes of the second head join those of the main head before NMS.
            Default: no, the second head is not used at test time, as in the first experiment.
        kwargs: further keys of :class:`RVTYOLOXHead`.

    Raises:
        InputError: ``aux_levels`` is out of range, or the training data have no class of a given
            name.
    """

    needs_whole_batch = True  # its auxiliary losses are means over a count of their own

    def __init__(
        self,
        *args,
        small_classes: Sequence[str] = small_classes(ETRAM8),
        aux_levels: int = 2,
        aux_weight: float = 2.0,
        merge_at_test: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 1 <= aux_levels <= len(self.strides):
            raise InputError(
                f"AuxSmallYOLOXHead: aux_levels={aux_levels}, expected 1 to {len(self.strides)}, "
                "the number of levels of the head"
            )
        self.small_classes = tuple(small_classes)
        self.aux_levels = aux_levels
        self.aux_weight = aux_weight
        self.merge_at_test = merge_at_test
        self.aux_stems = nn.ModuleList(self._stem() for _ in range(aux_levels))
        self.aux_head = RVTYOLOXHead(
            num_classes=len(self.small_classes),
            in_channels=self.in_channels,
            feat_channels=self.feat_channels,
            stacked_convs=self.stacked_convs,
            strides=self.strides[:aux_levels],
            train_cfg=self.train_cfg,
            test_cfg=self.test_cfg,
        )
        self.register_buffer("class_of_small", torch.full((len(self.small_classes),), UNKNOWN))
        self._classes = HostCopy()  # so that a step does not wait for a GPU

    def _stem(self) -> nn.Sequential:
        width = self.in_channels
        conv = ConvModule(width, width, 3, padding=1, norm_cfg=RVT_NORM, act_cfg=FUSED_SWISH)
        return nn.Sequential(conv, nn.Conv2d(width, width, 3, padding=1))

    def fit_to_data(self, boxes: BoxStatistics) -> str:
        missing = [name for name in self.small_classes if name not in boxes.classes]
        if missing:
            raise InputError(
                f"AuxSmallYOLOXHead: small_classes names {', '.join(missing)}, but the data have "
                f"{', '.join(boxes.classes)}; set model.bbox_head.small_classes to some of these"
            )
        self.class_of_small.copy_(
            torch.tensor([boxes.classes.index(name) for name in self.small_classes])
        )
        counts = boxes.counts[self.class_of_small.cpu().numpy()]
        listed = ", ".join(
            f"{name} {count}" for name, count in zip(self.small_classes, counts, strict=True)
        )
        return f"auxiliary head for small road users: boxes that it learns from: {listed}"

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: list) -> dict[str, Tensor]:
        losses = super().loss(x, batch_data_samples)
        truth = self._small_only([sample.gt_instances for sample in batch_data_samples])
        metas = [sample.metainfo for sample in batch_data_samples]
        aux = self.aux_head.loss_by_feat(*self._aux_maps(x), truth, metas)
        return losses | {
            f"aux_{name}": loss * self.aux_weight for name, loss in aux.items() if "loss" in name
        }

    def predict(
        self, x: tuple[Tensor, ...], batch_data_samples: list, rescale: bool = False
    ) -> list[InstanceData]:
        if not self.merge_at_test:
            return super().predict(x, batch_data_samples, rescale)
        metas = [sample.metainfo for sample in batch_data_samples]
        main = self.predict_by_feat(*self(x), batch_img_metas=metas, with_nms=False)
        small = self.aux_head.predict_by_feat(
            *self._aux_maps(x), batch_img_metas=metas, with_nms=False
        )
        for boxes in small:
            boxes.labels = self._known_classes()[boxes.labels]
        return [
            self._bbox_post_process(
                InstanceData.cat([ours, more]), self.test_cfg, rescale, True, meta
            )
            for ours, more, meta in zip(main, small, metas, strict=True)
        ]

    def decoded_features(self, x: tuple[Tensor, ...]) -> Decoded:
        main = super().decoded_features(x)
        if not self.merge_at_test:
            return main
        small = self.aux_head.decoded(*self._aux_maps(x))
        # (small classes, classes): a probability moves to the column of its class
        columns = torch.arange(self.num_classes, device=small.class_scores.device)
        column = (self._known_classes()[:, None] == columns).to(small.class_scores)
        small = small._replace(class_scores=small.class_scores @ column)
        return Decoded(*(torch.cat(pair, 1) for pair in zip(main, small, strict=True)))

    def _aux_maps(self, x: tuple[Tensor, ...]) -> tuple:
        return self.aux_head(
            [stem(level) for stem, level in zip(self.aux_stems, x[: self.aux_levels], strict=True)]
        )

    def _small_only(self, truth: list[InstanceData]) -> list[InstanceData]:
        """Boxes of each frame numbered by the second head, those of small classes as targets.

        Taking the others away would make the host wait for a GPU, which knows how many are left.
        """
        known = self._known_classes()
        found = []
        for boxes in truth:
            is_class = boxes.labels[:, None] == known  # (N, small classes)
            number = is_class.int().argmax(1)
            found.append(
                InstanceData(bboxes=boxes.bboxes, labels=number, is_target=is_class.any(1))
            )
        return found

    def _known_classes(self) -> Tensor:
        if not is_exporting() and (self._classes.of(self.class_of_small) == UNKNOWN).any():
            raise InputError(
                "AuxSmallYOLOXHead: the numbers of its small classes are not known yet; train with "
                "tools/train.py, or call etram_mmdet.models.fit_to_data(model, dataset) first"
            )
        return self.class_of_small
