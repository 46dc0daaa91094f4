"""Detection of road users with event cameras, as plugins for MMDetection.

Importing this package loads no other package. ``import etram_mmdet.plugins`` registers the plugins.
"""

from etram_mmdet.utils import numba_cache  # noqa: F401  before anything loads numba

__version__ = "0.2.0"
