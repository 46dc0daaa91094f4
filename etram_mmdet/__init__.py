"""Detection of road users with event cameras, as plugins for MMDetection.

Importing this package loads nothing else. ``import etram_mmdet.plugins`` registers the plugins.
"""

__version__ = "0.2.0"
