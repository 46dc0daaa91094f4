"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

import etram_mmdet  # noqa: F401  registers the plugins

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """Folder of golden numbers and real recordings beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}")
    return SHARED
