"""Small things of the host, sent to a device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(small: Tensor, device: torch.device) -> Tensor:
    """``small`` on ``device``; a copy from memory that is not pinned would wait for all that a GPU has yet to do."""
    return small.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else small.to(device)
