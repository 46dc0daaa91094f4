"""Whether the network is being written to a file."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """Whether :func:`torch.export` is tracing the network.

    Writing into a view of a tensor and cutting a batch into portions are left out then: a graph
    holds them as long tables of places. Always False before PyTorch 2.7, which has no such name.
    """
    return getattr(torch.compiler, "is_exporting", bool)()
