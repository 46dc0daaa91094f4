"""How much the parts of the GPU check do: all of it on a card, a little of everything on a CPU."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmengine.config import Config

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.environment import ROOT


@dataclass(frozen=True)
class Size:
    """``options`` change every config, ``compiled`` names the configs and precisions that are timed compiled."""

    name: str
    frame_hw: tuple[int, int] = (360, 640)
    options: dict[str, object] = field(default_factory=dict)
    compared_windows: int = 4
    timed_windows: int = 50
    untimed_windows: int = 5
    mixed_steps: int = 100
    timed_steps: int = 20
    untimed_steps: int = 5
    compiled: tuple[tuple[str, ...], tuple[str, ...]] = (
        ("baseline_tiny", "baseline", "patch2_sizeaware"),
        ("float32", "float16"),
    )
    demo: tuple[str, ...] = ()

    def config(self, name: str, **options: object) -> Config:
        return load_config(ROOT / "configs" / f"{name}.py", self.options | options)


FULL = Size("full")
SMALL = Size(
    "small",
    frame_hw=(32, 96),
    options={
        "model.backbone.partition_size": (1, 3),
        "model.backbone.embed_dims": 16,
        "model.backbone.head_dim": 16,
        "model.backbone.out_stages": (1,),
        "model.neck.num_csp_blocks": 1,
        "model.neck.out_channels": 32,
        "train_dataloader.batch_size": 2,
        "train_dataloader.dataset.clip_length": 2,
    },
    compared_windows=2,
    timed_windows=3,
    untimed_windows=2,
    mixed_steps=30,
    timed_steps=2,
    untimed_steps=1,
    compiled=(("baseline_tiny",), ("float32",)),
    demo=(
        *"--recordings 2 1 1 --seconds 1.5 --cfg-options".split(),
        "train_cfg.max_iters=4",
        "train_cfg.val_begin=5",
        "default_hooks.checkpoint.interval=4",
        "model.backbone.embed_dims=8",
        "model.backbone.head_dim=8",
    ),
)
SIZES = {size.name: size for size in (FULL, SMALL)}
