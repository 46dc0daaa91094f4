"""Let the head of RVT match boxes and compute losses, in double precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tests.reference.answers import Answers
from tests.reference.margins import Margins
from tests.reference.simota_cases import SimOTACase


def simota_answers(case: SimOTACase) -> Answers:
    """Which prior learns which box, the losses, and their gradients."""
    from models.detection.yolox.models.yolo_head import YOLOXHead

    head = YOLOXHead(case.num_classes, case.strides, in_channels=(8, 8, 8))
    margins = Margins(head)
    raw = [torch.from_numpy(maps).double().requires_grad_() for maps in case.raw()]
    labels = torch.from_numpy(case.labels_cxcywh()).double()
    chosen = []
    assign = head.get_assignments
    head.get_assignments = lambda frame, *args: (
        chosen.append((frame, assign(frame, *args))) or chosen[-1][1]
    )
    losses = head.get_losses(
        labels=labels, origin_preds=[], dtype=torch.float64, **_joined(head, raw)
    )
    losses[0].backward()
    margins.check(case.name, least=1e-3)
    answers = _matching(chosen, (labels.sum(2) > 0).sum(1).tolist())
    for name, loss in zip(("iou", "obj", "cls"), losses[1:4], strict=True):
        answers[f"loss {name}"] = loss.detach().numpy()
    for stride, maps in zip(case.strides, raw, strict=True):
        answers[f"gradient {stride}"] = maps.grad.numpy().astype(np.float32)
    return answers


def _joined(head, raw: list[Tensor]) -> dict:
    """All levels as the head's loss wants them."""
    outputs, x, y, strides = [], [], [], []
    for level, (stride, maps) in enumerate(zip(head.strides, raw, strict=True)):
        output, grid = head.get_output_and_grid(maps.clone(), level, stride, "torch.DoubleTensor")
        outputs.append(output)
        x.append(grid[:, :, 0])
        y.append(grid[:, :, 1])
        strides.append(torch.full_like(grid[:, :, 0], stride))
    return dict(outputs=torch.cat(outputs, 1), x_shifts=x, y_shifts=y, expanded_strides=strides)


def _matching(chosen: list, num_boxes: list[int]) -> Answers:
    """Priors and boxes counted through the whole batch, and their IoUs."""
    index, box, iou = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for frame, (_, is_positive, ious, boxes, _) in chosen:
        index.append(is_positive.nonzero().squeeze(1).numpy() + frame * len(is_positive))
        box.append(boxes.numpy() + sum(num_boxes[:frame]))
        iou.append(ious.numpy())
    return dict(
        index=np.concatenate(index),
        box_index=np.concatenate(box),
        ious=np.concatenate(iou).astype(np.float32),
    )
