"""Find out whether the network is being exported."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """Whether :func:`torch.export` is tracing the network.

    Then the network neither writes into a view of a tensor nor splits a batch into portions,
    because an exported graph would hold long tables of indices for that. Always False before
    PyTorch 2.7, which has no such function.
    """
    return getattr(torch.compiler, "is_exporting", bool)()
