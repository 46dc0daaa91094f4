"""Parts of the GPU check that compare a device's numbers with the CPU's.

Maps, boxes, losses and gradients are compared, from the same weights and input.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.gpu_check.size import Size
from etram_mmdet.analysis.speed.model import build_model
from etram_mmdet.models.inference import Streamer, each_map
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.cli.detection import PRECISIONS

CPU = torch.device("cpu")
AGREEING = ("baseline_tiny", "baseline", "patch2_sizeaware")
TRAINED = ("baseline_tiny", "patch2_sizeaware_batch6")
SAME_BOX_PX = 0.01
SAME_SCORE = 1e-4
# Largest difference, as a share of a map's largest value.
MAP_TOLERANCE = {"float32": 1e-4, "float16": 0.01, "bfloat16": 0.05}
# Share of boxes that must be the same. The last digit of a score may decide which of two
# overlapping boxes NMS keeps.
LEAST_SHARE = 0.99
# Largest relative difference of a loss. The last digit of a cost may decide to which box a cell is
# matched.
TRAINING_TOLERANCE = 0.01
# After training on one batch the loss must have fallen to this share of the first loss.
LEAST_FALL = 0.8


def last_maps(
    streamer: Streamer, hw: tuple[int, int], windows: int, streams: int = 1
) -> list[Tensor]:
    """Returns the head's maps of the last window, on the CPU in float32.

    Args:
        streamer: the model.
        hw: height and width of a frame, in pixels.
        windows: number of windows that the model gets.
        streams: number of streams at a time. Default: 1.
    """
    states = None
    for index in range(windows):
        clips = random_clips(streamer.detector, streams, 1, hw, label_every=1, seed=index)["inputs"]
        maps, states = streamer.network(streamer.pad(torch.cat(clips).to(streamer.device)), states)
        result = [level.float().cpu() for kind in maps for level in kind]
    return result


def agreement(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Yields rows that compare maps in every precision, then boxes from the same maps.

    The CPU's numbers in float32 are the expected ones.

    Args:
        device: device to check.
        size: which frames and networks are used.
        _: not used.
    """
    for name in AGREEING:
        on_cpu, model = _twins(size, name, device)
        with cuda.exact_products():
            expected = last_maps(Streamer(on_cpu), size.frame_hw, size.compared_windows, streams=2)
            for precision in (
                p for p in PRECISIONS if p != "bfloat16" or cuda.has_bfloat16(device)
            ):
                ours = last_maps(
                    Streamer(model, precision), size.frame_hw, size.compared_windows, streams=2
                )
                yield dict(config=name, precision=precision) | _differences(
                    ours, expected, MAP_TOLERANCE[precision]
                )
        yield dict(config=name) | _boxes_agree(on_cpu, model, size.frame_hw)


def _twins(size: Size, name: str, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Returns the same weights on the CPU and on ``device``."""
    torch.manual_seed(0)
    on_cpu = stirred(build_model(size.config(name), CPU))
    return on_cpu, copy.deepcopy(on_cpu).to(device)


@torch.no_grad()
def stirred(model: nn.Module) -> nn.Module:
    """Moves biases and scales of a model at random, in place, and returns it.

    New ones are zero or so small that errors in what they multiply would not be seen.

    Args:
        model: the model.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in (p for p in model.parameters() if p.dim() == 1):
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def _differences(ours: list[Tensor], expected: list[Tensor], tolerance: float) -> dict:
    """Returns the largest difference of all maps, as a share of the map's largest value."""
    shares = [
        float((one - other).abs().max() / other.abs().max())
        for one, other in zip(ours, expected, strict=True)
    ]
    holds = all(share <= tolerance for share in shares)  # false if one is NaN
    return dict(largest_difference=max(shares), tolerance=tolerance, holds=holds)


@torch.no_grad()
def _boxes_agree(on_cpu: nn.Module, model: nn.Module, hw: tuple[int, int]) -> dict:
    """Compares boxes that are found from random maps of the network's sizes.

    Maps of an untrained model would give boxes with nearly equal scores.
    """
    one = Streamer(on_cpu)
    other = Streamer(model)
    (clip,) = random_clips(on_cpu, 1, 1, hw)["inputs"]
    generator = torch.Generator().manual_seed(0)
    maps, _ = one.network(one.pad(clip), None)
    maps = each_map(lambda level: torch.randn(level.shape, generator=generator), maps)
    (expected,) = one.boxes(maps, hw)
    (found,) = other.boxes(each_map(lambda level: level.to(other.device), maps), hw)
    share = share_of_same_boxes(found.cpu(), expected)
    tolerance = f"{SAME_BOX_PX} px, score {SAME_SCORE:g}; at least {LEAST_SHARE}"
    return dict(
        boxes=len(expected), same_share=share, tolerance=tolerance, holds=share >= LEAST_SHARE
    )


def share_of_same_boxes(found: InstanceData, expected: InstanceData) -> float:
    """Returns the share of all boxes that have the same class, place and score on the other side.

    Two boxes are the same if they differ by at most `SAME_BOX_PX` and `SAME_SCORE`.

    Args:
        found: boxes of the device.
        expected: boxes of the CPU.
    """
    if not len(found) or not len(expected):
        return float(len(found) == len(expected))
    scale = SAME_BOX_PX / SAME_SCORE
    rows = [
        torch.cat(
            [each.bboxes, scale * each.scores[:, None], 2 * SAME_BOX_PX * each.labels[:, None]], 1
        ).double()
        for each in (found, expected)
    ]
    is_same = torch.cdist(*rows, p=math.inf) <= SAME_BOX_PX
    return float(torch.cat([is_same.any(0), is_same.any(1)]).double().mean())


def training(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Yields rows that compare losses and gradients of one step, then one of mixed precision.

    The step is compared with the CPU's. In mixed precision many steps are done and the loss must
    fall.

    Args:
        device: device to check.
        size: which frames and networks are used, and how many steps.
        _: not used.
    """
    for name in TRAINED:
        with cuda.exact_products():
            expected, ours = (
                _losses_and_gradient(model, size.frame_hw) for model in _twins(size, name, device)
            )
        for what, value in expected.items():
            difference = abs(ours[what] - value) / max(abs(value), 1e-12)
            holds = difference <= TRAINING_TOLERANCE  # false if either is NaN
            yield dict(
                config=name,
                what=what,
                cpu=value,
                device=ours[what],
                relative_difference=difference,
                tolerance=TRAINING_TOLERANCE,
                holds=holds,
            )
    yield _mixed_training(device, size)


def _losses_and_gradient(model: nn.Module, hw: tuple[int, int]) -> dict[str, float]:
    """Returns the losses by name, and the norm of all gradients."""
    batch = model.train().data_preprocessor(random_clips(model, 2, 3, hw), True)
    loss, terms = model.parse_losses(model(**batch, mode="loss"))
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    return {name: term.item() for name, term in terms.items()} | dict(gradient_norm=norm.item())


def _mixed_training(device: torch.device, size: Size) -> dict:
    """Trains on one batch, at a learning rate high enough to learn it by heart."""
    cfg = size.config("baseline_tiny", base_lr=2e-3)
    torch.manual_seed(0)
    model = build_model(cfg, device).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    clip_length = cfg.train_dataloader.dataset.clip_length
    data = random_clips(model, cfg.train_dataloader.batch_size, clip_length, size.frame_hw)
    losses = []
    for _ in range(size.mixed_steps):
        model.stream_states["loss"].reset()
        losses.append(model.train_step(data, wrapper)["loss"].item())
    is_finite = all(map(math.isfinite, losses))
    return dict(
        config="baseline_tiny",
        optimizer=type(wrapper).__name__,
        steps=len(losses),
        first_loss=losses[0],
        last_loss=losses[-1],
        is_finite=is_finite,
        tolerance=f"at most {LEAST_FALL} of the first",
        holds=is_finite and losses[-1] <= LEAST_FALL * losses[0],
    )
