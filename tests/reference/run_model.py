"""Run RVT's detector on the cases, in double precision."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.reference.answers import Answers
from tests.reference.margins import Margins
from tests.reference.model_cases import (
    GRADIENT_COUNT,
    HEAD_COUNT,
    MAP_COUNT,
    PARTITION,
    SEEN_STEPS,
    STEPS,
    TRAINED_STEPS,
    ModelCase,
    is_first,
    weight,
)
from tests.reference.thin import thin


def model_answers(clone: Path, case: ModelCase) -> Answers:
    model = build(clone, case)
    return stream(model.eval(), case) | train(model.train(), case)


def build(clone: Path, case: ModelCase):
    from models.detection.yolox_extension.models.detector import YoloXDetector
    from omegaconf import OmegaConf

    cfg = OmegaConf.load(clone / "config/model/maxvit_yolox/default.yaml").model
    cfg.backbone.embed_dim = 32
    cfg.backbone.stem.patch_size = case.patch_size
    cfg.backbone.stage.attention.partition_size = list(PARTITION)
    cfg.fpn.depth = 0.33
    cfg.head.num_classes = case.num_classes
    model = YoloXDetector(cfg).double()
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict(
        {name: torch.from_numpy(weight(name, tuple(s))) for name, s in shapes.items()}
    )
    return model


@torch.no_grad()
def stream(model, case: ModelCase) -> Answers:
    """Outputs and cells of the stages, maps of the neck and decoded predictions."""
    answers = {}
    frames = torch.from_numpy(case.frames()).double()
    kept = torch.from_numpy(~is_first()).double()
    states = None
    for t in range(STEPS):
        if states is not None:
            states = [tuple(row * kept[t].view(-1, 1, 1, 1) for row in state) for state in states]
        features, states = model.forward_backbone(frames[t], states)
        if t not in SEEN_STEPS:
            continue
        for k, (output, cell) in enumerate(states):
            answers |= _thin(f"stage {t} {k}", output, MAP_COUNT) | _thin(
                f"cell {t} {k}", cell, MAP_COUNT
            )
        for k, maps in enumerate(model.fpn(features)):
            answers |= _thin(f"neck {t} {k}", maps, MAP_COUNT)
        boxes, _ = model.forward_detect(features)
        answers |= _thin(f"boxes {t}", boxes[..., :4], HEAD_COUNT) | _thin(
            f"scores {t}", boxes[..., 4:], HEAD_COUNT
        )
    return answers


def train(model, case: ModelCase) -> Answers:
    """Losses, gradients and BatchNorm's statistics after three time steps.

    Only the last one has a loss.
    """
    margins = Margins(model.yolox_head)
    states = [
        tuple(torch.from_numpy(row).double() for row in state) for state in case.start_state()
    ]
    for frame in torch.from_numpy(case.frames()[TRAINED_STEPS]).double():
        features, states = model.forward_backbone(frame, states)
    _, losses = model.forward_detect(features, torch.from_numpy(case.labels_cxcywh()).double())
    losses["loss"].backward()
    margins.check(case.name, least=5e-3)
    answers = {
        f"loss {name}": losses[name].detach().numpy()
        for name in ("iou_loss", "conf_loss", "cls_loss")
    }
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            answers |= _thin(f"gradient {name}", parameter.grad, GRADIENT_COUNT)
            answers[f"norm {name}"] = parameter.grad.norm().numpy()
    for name, tensor in model.named_buffers():
        if "running" in name:
            answers |= _thin(f"statistic {name}", tensor, GRADIENT_COUNT)
    return answers


def _thin(name: str, values: Tensor, count: int) -> Answers:
    return {name: thin(name, values.detach().numpy(), count)}
