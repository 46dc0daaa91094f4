"""Speed of a config's model, and the memory it keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from etram_mmdet.analysis.speed.timing import Clock
from etram_mmdet.datasets.shared_keys import dataset_config, metainfo_of
from etram_mmdet.engine.config.complete import resolve
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.models.building import build_detector
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import fit_to_random_boxes, random_clips


def build_model(cfg: Config, device: torch.device) -> nn.Module:
    """Builds the detector of a config.

    Args:
        cfg: a config; it is completed in place, as training would.
        device: device of the detector.
    """
    with refused_settings(cfg):
        resolve(cfg, device.type)
        return build_detector(cfg).to(device)


def build_fitted_model(cfg: Config, device: torch.device) -> nn.Module:
    """Builds the detector of a config, for training without its data.

    Args:
        cfg: a config; it is completed in place, as training would.
        device: device of the detector.
    """
    model = build_model(cfg, device)
    classes = tuple(metainfo_of(dataset_config(cfg))["classes"])
    return fit_to_random_boxes(model, classes)


@torch.no_grad()
def time_streaming(streamer: Streamer, hw: tuple[int, int], windows: int, warm_up: int) -> Clock:
    """Times one stream, one window at a time, with its state.

    A network that is one program is timed as one part; else backbone and the rest of the network
    are two.

    Args:
        streamer: the model.
        hw: height and width of a frame, in pixels.
        windows: number of timed windows.
        warm_up: number of windows before them.
    """
    clock = Clock(streamer.device)
    states = None
    for index in range(-warm_up, windows):
        (clip,) = random_clips(streamer.detector, 1, 1, hw, label_every=1, seed=index % 7)["inputs"]
        if index == 0:
            clock.seconds.clear()
        with clock.part("data"):
            frames = clip.to(streamer.device)
        if streamer.is_one_part:
            with clock.part("network"):
                maps, states = streamer.network(streamer.pad(frames), states)
        else:
            with clock.part("backbone"):
                features, states = streamer.backbone(streamer.pad(frames), states)
            with clock.part("neck + head"):
                maps = streamer.maps(features)
        with clock.part("post-processing"):
            streamer.boxes(maps, hw)
    clock.seconds["window"] = [sum(parts) for parts in zip(*clock.seconds.values(), strict=True)]
    return clock


def time_training(cfg: Config, model: nn.Module, data: dict, steps: int, warm_up: int) -> Clock:
    """Times whole training steps.

    A step moves data to the device, then does forward pass, losses, backward pass, clipping and
    optimizer.

    Args:
        cfg: a complete config, from which the optimizer is built.
        model: detector of the config.
        data: a batch as the data loader returns it.
        steps: number of timed steps.
        warm_up: number of steps before them.
    """
    model.train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    clock = Clock(next(model.parameters()).device)
    for index in range(-warm_up, steps):
        if index == 0:
            clock.seconds.clear()
        with clock.part("step"):
            model.train_step(data, wrapper)
    return clock


@torch.no_grad()
def macs_per_window(model: nn.Module, hw: tuple[int, int]) -> int:
    """Counts multiply-accumulates of one window, in products and convolutions.

    Attention is included.

    Args:
        model: a detector.
        hw: height and width of a frame, in pixels.
    """
    (clip,) = random_clips(model, 1, 1, hw, label_every=1)["inputs"]
    streamer = Streamer(model)
    with _plain_attention(), FlopCounterMode(display=False) as counter:
        streamer.network(streamer.pad(clip.to(streamer.device)), None)
    return counter.get_total_flops() // 2


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Turns off the CPU's fused attention, which the counter does not know."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield
