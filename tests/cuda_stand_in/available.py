"""Whether this PyTorch has the private interface that the stand-in device is made of."""

from __future__ import annotations

import importlib

import torch

# Releases whose interface is known; others may have the same names and behave differently.
KNOWN = ("2.13",)
NEEDED = (
    "torch.utils.backend_registration._setup_privateuseone_for_python_backend",
    "torch.utils.backend_registration._DummyBackendModule",
    "torch._C._construct_storage_from_data_pointer",
    "torch._C._acc.create_empty_tensor",
    "torch._C._ExcludeDispatchKeyGuard",
)


def why_not() -> str | None:
    """A sentence that says why the device cannot be installed here; None if it can be."""
    release = ".".join(torch.__version__.split(".")[:2])
    if release not in KNOWN:
        return (
            f"the stand-in for CUDA is known to work with PyTorch {', '.join(KNOWN)}, and this is "
            f"{torch.__version__}; try it and add the release to KNOWN in {__name__}"
        )
    missing = [name for name in NEEDED if not _exists(name)]
    if missing:
        return f"the stand-in for CUDA needs {', '.join(missing)}, which {torch.__version__} lacks"
    return None


def _exists(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(parent), last)
    except ImportError:
        package, _, attribute = parent.rpartition(".")
        return hasattr(getattr(importlib.import_module(package), attribute, None), last)
