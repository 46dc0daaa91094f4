"""Augmentation of events before they become an image, for ``event_pipeline`` of RawEventDataset.

A decision about the whole recording (is the polarity flipped, how many events are lost) is drawn
from ``clip_rng`` and so is constant along a stream. The choice of single events is drawn from
``frame_rng``. Each transform has generators of its own.
"""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from etram_mmdet.events.recording import Events


@TRANSFORMS.register_module()
class EventPolarityFlip(BaseTransform):
    """Swap on and off events: dark on bright becomes bright on dark.

    Args:
        prob: probability of the swap. Default: 0.5.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if results["clip_rng"].random() < self.prob:
            events = results["events"]
            results["events"] = events._replace(p=events.p ^ 1)
        return results


@TRANSFORMS.register_module()
class EventDrop(BaseTransform):
    """Leave out events at random (EventDrop, Gu et al., 2021).

    Args:
        prob: probability that a stream loses events. Default: 0.5.
        max_share: largest share of the events that is left out. Default: 0.3.
    """

    def __init__(self, prob: float = 0.5, max_share: float = 0.3) -> None:
        self.prob = prob
        self.max_share = max_share

    def transform(self, results: dict) -> dict:
        chance, share = results["clip_rng"].random(2)
        if chance < self.prob:
            events = results["events"]
            kept = results["frame_rng"].random(len(events.t)) >= share * self.max_share
            results["events"] = Events(*(column[kept] for column in events))
        return results


@TRANSFORMS.register_module()
class EventTimeJitter(BaseTransform):
    """Add Gaussian noise to every time stamp; stamps stay within their window.

    Args:
        prob: probability that a stream gets noise. Default: 0.5.
        max_std_us: largest standard deviation of the noise, in microseconds. Default: 2000.
    """

    def __init__(self, prob: float = 0.5, max_std_us: float = 2000.0) -> None:
        self.prob = prob
        self.max_std_us = max_std_us

    def transform(self, results: dict) -> dict:
        chance, size = results["clip_rng"].random(2)
        events = results["events"]
        if chance < self.prob and len(events.t):
            noise = results["frame_rng"].normal(0, size * self.max_std_us, len(events.t))
            t = np.clip(events.t + np.rint(noise).astype(np.int64), *results["window_us"])
            results["events"] = _in_time_order(events._replace(t=t))
        return results


@TRANSFORMS.register_module()
class EventNoise(BaseTransform):
    """Add background events anywhere in the frame.

    Args:
        prob: probability that a stream gets background events. Default: 0.5.
        max_rate_hz: largest number of added events per pixel and second. Default: 1.
    """

    def __init__(self, prob: float = 0.5, max_rate_hz: float = 1.0) -> None:
        self.prob = prob
        self.max_rate_hz = max_rate_hz

    def transform(self, results: dict) -> dict:
        chance, size = results["clip_rng"].random(2)
        if chance < self.prob:
            rng, (t0_us, t1_us) = results["frame_rng"], results["window_us"]
            height, width = results["height"], results["width"]
            num = rng.poisson(size * self.max_rate_hz * height * width * (t1_us - t0_us) * 1e-6)
            noise = Events(
                rng.integers(t0_us, t1_us, num, endpoint=True),
                rng.integers(0, width, num, np.uint16),
                rng.integers(0, height, num, np.uint16),
                rng.integers(0, 2, num, np.uint8),
            )
            both = zip(results["events"], noise, strict=True)
            results["events"] = _in_time_order(Events(*map(np.concatenate, both)))
        return results


def _in_time_order(events: Events) -> Events:
    order = np.argsort(events.t, kind="stable")
    return Events(*(column[order] for column in events))
