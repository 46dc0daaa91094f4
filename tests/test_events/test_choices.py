"""The words that help lists are those that the code knows."""

from __future__ import annotations

from etram_mmdet.events.choices import LABEL_FORMAT_NAMES, REPRESENTATION_NAMES
from etram_mmdet.events.label_formats import LABEL_FORMATS
from etram_mmdet.events.representations import REPRESENTATIONS


def test_help_lists_every_representation():
    bundled = {
        name for name, cls in REPRESENTATIONS.items() if cls.__module__.startswith("etram_mmdet.")
    }
    assert set(REPRESENTATION_NAMES) == bundled


def test_help_lists_every_label_format():
    assert set(LABEL_FORMAT_NAMES) == set(LABEL_FORMATS)
