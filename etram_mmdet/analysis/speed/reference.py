"""RVT's own code (a clone of uzh-rpg/RVT) with a detector's weights, for comparisons of speed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from etram_mmdet.apis.inference import TorchEngine
from etram_mmdet.engine.checkpoints.rvt_weights import to_rvt
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import table

_MODEL_FILE = "config/model/maxvit_yolox/default.yaml"


class Reference:
    """The model that RVT builds for the sizes of a :class:`RecurrentDetector`, with its weights.

    Importing RVT executes the code in ``folder`` and takes the top-level module names ``models``,
    ``data`` and ``utils``.

    Args:
        folder: a clone of RVT.
        model: detector whose sizes and weights are used.

    Raises:
        InputError: ``folder`` is no clone of RVT, packages that RVT needs are missing, or RVT
            cannot build the detector's stages.
    """

    def __init__(self, folder: Path, model: nn.Module) -> None:
        if not (folder / _MODEL_FILE).is_file():
            raise InputError(
                f"{folder}: holds no {_MODEL_FILE}; name a clone of https://github.com/uzh-rpg/RVT"
            )
        sys.path.insert(0, str(folder))
        try:
            from models.detection.yolox_extension.models.detector import YoloXDetector
            from omegaconf import OmegaConf
        except ImportError as error:
            raise InputError(
                f"{folder}: {error}; RVT needs packages: pip install omegaconf einops torchvision"
            ) from error
        cfg = OmegaConf.load(folder / _MODEL_FILE).model
        _take_sizes(cfg, model)
        self.model = YoloXDetector(cfg).to(next(model.parameters()).device)
        self.model.load_state_dict(to_rvt(model.state_dict()))

    def stream(self, frame: Tensor, states: list | None) -> tuple[Tensor, list]:
        """Runs the model on one window of one stream.

        Args:
            frame: (1, C, H, W) padded window.
            states: state after the window before; ``None`` for the first window.

        Returns:
            The decoded boxes, and the state after this window.
        """
        boxes, _, states = self.model(frame, states)
        return boxes, states

    def loss(self, frames: Tensor, is_labelled: Tensor, targets: Tensor) -> Tensor:
        """Returns the summed loss of a clip that starts with an empty state, as in RVT's training.

        Args:
            frames: (T, B, C, H, W) padded frames.
            is_labelled: (T, B) whether a frame is labelled.
            targets: (M, n, 5) class, centre and size of the boxes of the M labelled frames, ordered
                by time, then by lane.
        """
        states = None
        chosen = []
        for frame, labelled in zip(frames, is_labelled, strict=True):
            features, states = self.model.forward_backbone(frame, states)
            rows = labelled.nonzero().squeeze(1).tolist()
            if rows:
                chosen.append({stage: maps[rows] for stage, maps in features.items()})
        batched = {stage: torch.cat([maps[stage] for maps in chosen]) for stage in chosen[0]}
        return self.model.forward_detect(batched, targets)[1]["loss"]


class ReferenceEngine:
    """RVT's model in the place of an :class:`Engine`: the network and decoding, without NMS.

    Args:
        reference: RVT's model.
        ours: engine of the same detector, which pads frames.
    """

    def __init__(self, reference: Reference, ours: TorchEngine) -> None:
        self._reference = reference
        self._pad = ours.streamer.pad
        reference.model.eval()

    @torch.no_grad()
    def __call__(self, frames: np.ndarray, states: list | None) -> tuple[Tensor, list]:
        return self._reference.stream(self._pad(torch.from_numpy(frames))[0], states)


def _take_sizes(cfg, model: nn.Module) -> None:
    backbone = model.backbone
    head = model.bbox_head
    stages = backbone.out_stages
    if len(backbone.stages) != 4 or stages != tuple(range(stages[0], stages[0] + 3)):
        raise InputError(
            f"out_stages={stages}: RVT always builds four stages and its neck takes three in a "
            "row; compare a config that does the same, such as configs/baseline.py"
        )
    first = backbone.stages[0]
    attention = first.blocks[0].attn
    cfg.backbone.embed_dim = first.lstm.channels
    cfg.backbone.input_channels = first.downsample.conv.in_channels
    cfg.backbone.stem.patch_size = first.downsample.conv.stride[0]
    cfg.backbone.num_blocks = [len(stage.blocks) // 2 for stage in backbone.stages]
    cfg.backbone.stage.attention.dim_head = attention.head_dim
    cfg.backbone.stage.attention.partition_size = list(first.blocks[0].size_hw)
    cfg.backbone.stage.lstm.dws_conv = first.lstm.hidden_conv is not None
    cfg.fpn.in_stages = list(stages)
    cfg.fpn.depth = len(model.neck.top_down_blocks[0].blocks) / 3  # RVT triples and rounds it
    cfg.head.num_classes = head.num_classes


def targets_of(data_samples: list, is_labelled: Tensor) -> Tensor:
    """Returns the targets of :meth:`Reference.loss`.

    Args:
        data_samples: tracks of the batch, one for each lane.
        is_labelled: (T, B) whether a frame is labelled.

    Returns:
        (M, n, 5) with rows of class, centre x, centre y, width and height. Missing rows are zeros.
    """
    frames = [data_samples[b][t].gt_instances for t, b in is_labelled.nonzero().tolist()]
    targets = frames[0].bboxes.new_zeros(len(frames), max(len(frame) for frame in frames), 5)
    for row, frame in zip(targets, frames, strict=True):
        low, high = frame.bboxes[:, :2], frame.bboxes[:, 2:]
        row[: len(frame)] = torch.cat([frame.labels[:, None], (low + high) / 2, high - low], 1)
    return targets


def format_ratios(result: dict, how: dict[str, str]) -> str:
    """Formats a table with one row per part.

    A row holds RVT's time, ours, their ratio and the ratio of the fastest rounds.

    Args:
        result: result of each part.
        how: title of each timed part, in the order of the rows.
    """
    timed = [(name, result[part]) for part, name in how.items() if part in result]
    if "evaluation" in result:
        timed.append(("same, with breakdown and interval, ms", result["evaluation"]["whole"]))
    rows = [
        ["", "reference", "ours", "ratio", "of best", ""],
        *(_row(name, numbers) for name, numbers in timed),
    ]
    if "memory" in result:
        theirs = result["memory"]["reference_bytes"] / 2**30
        ours = result["memory"]["ours_bytes"] / 2**30
        name = "kept for the backward pass, GiB"
        rows.append([name, f"{theirs:.2f}", f"{ours:.2f}", f"{ours / theirs:.2f}", "", ""])
    return table(rows, left=(0, 5))


def _row(name: str, numbers: dict) -> list[str]:
    times = [f"{numbers[key]:.1f}" for key in ("reference_ms", "ours_ms")]
    ratios = [f"{numbers[key]:.2f}" for key in ("ratio", "ratio_of_best")]
    return [
        name,
        *times,
        *ratios,
        f"differ by {numbers['difference']:.1e}" if "difference" in numbers else "",
    ]
