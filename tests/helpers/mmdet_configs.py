"""The configs of one-stage detectors that come with mmdet."""

from __future__ import annotations

import functools
from pathlib import Path

import mmdet
from mmengine.config import Config

# SSD is left out: its configs set a top-level `cudnn_benchmark`, which nothing reads.
ONE_STAGE = (
    *(
        "atss",
        "autoassign",
        "ddod",
        "foveabox",
        "free_anchor",
        "fsaf",
        "fcos",
        "gfl",
        "ghm",
        "lad",
        "ld",
    ),
    *(
        "nas_fcos",
        "paa",
        "reppoints",
        "retinanet",
        "rtmdet",
        "sabl",
        "tood",
        "vfnet",
        "yolo",
        "yolof",
        "yolox",
    ),
)


@functools.cache
def one_stage_configs(folder: str) -> tuple[tuple[Path, Config], ...]:
    """Every config of a folder with mmdet's schedules and data.

    Configs that need mmpretrain are left out.
    """
    paths = sorted((Path(mmdet.__file__).parent / ".mim" / "configs" / folder).glob("*.py"))
    readable = [path for path in paths if "mmpretrain" not in path.read_text(encoding="utf-8")]
    return tuple((path, Config.fromfile(path)) for path in readable)
