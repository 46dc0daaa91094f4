"""Single-stage detector over clips of a stream."""

from __future__ import annotations

import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.optim import OptimWrapper
from torch import Tensor

from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.models.detectors.feature_maps import backbone_maps, neck_maps, trial
from etram_mmdet.models.detectors.fill_from_backbone import (
    build_backbone,
    check_strides,
    fill_head,
    fill_neck,
    fill_preprocessor,
    fill_test_cfg,
)
from etram_mmdet.models.detectors.micro_batches import split_lanes, step_in_parts
from etram_mmdet.models.detectors.missing_operators import check_nms, check_operators
from etram_mmdet.models.detectors.one_stage import check_head, read_in_portions
from etram_mmdet.models.detectors.stream_state import StreamState
from etram_mmdet.models.layers.checkpointing import recompute_layers
from etram_mmdet.models.layers.freezing import rest_frozen_norms
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.transfer import to_device


@MODELS.register_module()
class RecurrentDetector(SingleStageDetector):
    """Runs a backbone over a clip, and neck and head once over all labelled frames of the clip.

    A :class:`RecurrentBackbone` gets its state from the last batch of the same mode: lane b of a
    batch continues lane b of the batch before, unless ``is_first[b]``. Training and evaluation have
    separate states, so validation in mid-epoch disturbs nothing. A batch of single clips
    (``streamed=False``) changes neither state, so mmdet's ``inference_detector`` may be used on an
    image while a stream goes on. Any mmdet backbone without state works too; it gets the labelled
    frames only.

    Settings that follow from the backbone are filled in: the neck's ``in_channels``, ``num_outs``
    and ``out_channels`` (a quarter of the widest stage, RVT's rule), the preprocessor's
    ``size_divisor``, and the head's ``in_channels``, ``strides``, strides of its anchors or points
    and FCOS's ``regress_ranges``. For this, a backbone without state and the neck are run on zeros,
    which changes no weights, statistics or random numbers.

    Args:
        backbone: config of a :class:`RecurrentBackbone`, or of any mmdet backbone.
        neck: config of mmdet's neck. Default: none.
        bbox_head: config of a one-stage dense head; there is no default.
        train_cfg: mmdet's settings of training, passed to the head. Default: those of the head.
        test_cfg: mmdet's settings of post-processing, passed to the head, such as ``score_thr`` and
            ``nms``. Default: none.
        data_preprocessor: config of an :class:`EventDataPreprocessor`. Default: one whose padding
            fits the backbone.
        with_cp: whether neck and head are computed again in the backward pass instead of keeping
            their maps; the backbone has a key of that name for itself. Default: no.
        micro_batch: number of lanes that go through the network at a time in training; their
            gradients add up to that of the whole batch (:func:`step_in_parts`). Default: the whole
            batch.
        init_cfg: mmengine's initialisation. Default: that of the parts.
        channels_last: whether weights, frames and maps of convolutions keep the channels of a pixel
            together in memory, as attention leaves its maps and as GPUs compute half precision.
            Numbers differ by rounding only. Default: yes.
        in_channels: channels of a frame, for a backbone without such a key (mmdet's CSPNeXt and
            CSPDarknet). Its first convolution is replaced by one that reads them. Default: the
            backbone's.

    Raises:
        InputError: the config contradicts the backbone in a setting that is filled in; the head is
            no one-stage dense head; this mmcv lacks the operators of a layer or of a kind of NMS.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        bbox_head: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        with_cp: bool = False,
        micro_batch: int | None = None,
        init_cfg: dict | None = None,
        in_channels: int | None = None,
        channels_last: bool = True,
    ) -> None:
        if micro_batch is not None and micro_batch < 1:
            raise InputError(
                f"RecurrentDetector: micro_batch={micro_batch}, expected at least 1 lane, or None"
            )
        check_head(bbox_head, train_cfg)
        check_nms(test_cfg)
        backbone, self.in_channels = build_backbone(backbone, in_channels)
        maps = backbone_maps(backbone, self.in_channels)
        preprocessor = data_preprocessor or dict(type="EventDataPreprocessor")
        preprocessor = fill_preprocessor(preprocessor, backbone, maps)
        # Not SingleStageDetector's constructor, which would build the backbone from its config a
        # second time.
        super(SingleStageDetector, self).__init__(MODELS.build(preprocessor), init_cfg)
        self.backbone = backbone
        if neck is not None:
            self.neck = MODELS.build(fill_neck(neck, maps))
            check_operators(self)
            maps = neck_maps(self.neck, maps)
        test_cfg = fill_test_cfg(test_cfg, bbox_head)
        self.bbox_head = MODELS.build(
            dict(fill_head(bbox_head, maps), train_cfg=train_cfg, test_cfg=test_cfg)
        )
        check_operators(self)
        check_strides(maps, self.bbox_head)
        read_in_portions(self.bbox_head)
        trial("bbox_head", self.bbox_head, maps.zeros(self.bbox_head))
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        self.micro_batch = micro_batch
        if with_cp:
            for module in (self.neck, self.bbox_head) if self.with_neck else (self.bbox_head,):
                recompute_layers(module)
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)
        self.stream_states = {mode: StreamState() for mode in ("loss", "predict")}

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[TrackDataSample] | None = None,
        is_first: Tensor | None = None,
        is_labelled: Tensor | None = None,
        mode: str = "tensor",
    ) -> dict | list[DetDataSample] | tuple:
        """Losses, boxes or raw maps of a batch of clips.

        Args:
            inputs: (T, B, C, H, W) padded frames; see :class:`EventDataPreprocessor` for this and
                the next three.
            data_samples: the frames' boxes and names, one track per lane.
            is_first: (B,) bool, in host memory.
            is_labelled: (T, B) bool, in host memory.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``. Default: 'tensor'.

        Returns:
            ``'loss'``: a dict of losses. ``'predict'``: ``DetDataSample``s of the labelled frames
            in time-major order, with ``pred_instances`` in pixels of the unpadded frame (boxes may
            reach beyond it); in a batch without labels the sample of the first frame, whose
            ``is_labelled`` is False. ``'tensor'``: raw output of the head on every frame, from zero
            state.
        """
        if mode == "tensor":
            return self.bbox_head(self._neck(self.clip_features(inputs, None, None)[0]))
        if mode not in self.stream_states:
            raise InputError(
                f"RecurrentDetector: mode={mode!r}, expected 'loss', 'predict' or 'tensor'"
            )
        # Single clips do not change the streams of others.
        is_streamed = any(track.get("streamed", True) for track in data_samples)
        state = self.stream_states[mode] if is_streamed else StreamState()
        # they are in host memory already, unless DDP moved them
        is_first, is_labelled = is_first.cpu(), is_labelled.cpu()
        # In a batch without labels one frame is used: losses need it to reach every parameter, and
        # mmengine's loops need a sample per batch.
        chosen = is_labelled if is_labelled.any() else _only_first(is_labelled)
        lanes = tuple(track.lane for track in data_samples)
        features, states = self.clip_features(inputs, chosen, state.get(lanes, is_first))
        state.put(
            lanes,
            states,
            alone=[track.lane for track in data_samples if not track.get("streamed", True)],
        )
        frames = [data_samples[b][t] for t, b in chosen.nonzero().tolist()]
        if mode == "predict":
            return self._predict(features, frames)
        losses = self.bbox_head.loss(self._neck(features), frames)
        return (
            losses
            if chosen is is_labelled
            else {name: _times_zero(loss) for name, loss in losses.items()}
        )

    def train(self, mode: bool = True) -> RecurrentDetector:
        """mmengine's ``train``, which leaves frozen BatchNorm layers in evaluation mode.

        It does not matter how their parameters were frozen.
        """
        super().train(mode)
        rest_frozen_norms(self)
        return self

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict:
        parts = split_lanes(data, self.micro_batch)
        return (
            step_in_parts(self, parts, optim_wrapper)
            if len(parts) > 1
            else super().train_step(data, optim_wrapper)
        )

    def clip_features(
        self, inputs: Tensor, chosen: Tensor | None, states: tuple | None
    ) -> tuple[tuple[Tensor, ...], tuple]:
        """Backbone features of chosen frames, and the state after the clip.

        Args:
            inputs: (T, B, C, H, W) padded frames.
            chosen: (T, B) bool mask of M frames, in host memory so that nothing waits for a GPU.
                None: all frames.
            states: states of the backbone before the clip. None: the start of the streams.

        Returns:
            Features (M, C_i, H_i, W_i) of each level, and the states.
        """
        if not self.channels_last:
            inputs = inputs.contiguous()
        frames = None  # all
        if chosen is not None and not bool(chosen.all()):
            frames = to_device(chosen.flatten().nonzero().squeeze(1), inputs.device)
        if not isinstance(self.backbone, RecurrentBackbone):
            return self.backbone(_chosen_frames(inputs, frames)), ()
        features, states = self.backbone(inputs, states)
        return tuple(_chosen_frames(f, frames) for f in features), states

    def _neck(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.neck(features) if self.with_neck else features

    def _predict(
        self, features: tuple[Tensor, ...], frames: list[DetDataSample]
    ) -> list[DetDataSample]:
        results = self.bbox_head.predict(self._neck(features), frames, rescale=False)
        for frame, result in zip(frames, results, strict=True):
            frame.pred_instances = result
        return frames


def _times_zero(loss: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return [_times_zero(level) for level in loss] if isinstance(loss, list) else loss * 0


def _only_first(is_labelled: Tensor) -> Tensor:
    chosen = torch.zeros_like(is_labelled)
    chosen[0, 0] = True
    return chosen


def _chosen_frames(maps: Tensor, index: Tensor | None) -> Tensor:
    """Flatten (T, B, ...) to (M, ...): the frames of ``index``, or all."""
    maps = maps.flatten(0, 1)
    return maps if index is None else maps[index]  # channels stay last, unlike with index_select
