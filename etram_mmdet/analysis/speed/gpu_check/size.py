"""How much the parts of the GPU check do: everything on a GPU, a little of it on a CPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.environment import ROOT


@dataclass(frozen=True)
class Size:
    """How much the parts of the GPU check do.

    Attributes:
        name: name of the size.
        frame_hw: height and width of a frame, in pixels. Default: (360, 640).
        options: settings that replace those of every config. Default: none.
        compared_windows: windows after which maps are compared. Default: 4.
        timed_windows: windows whose latency is measured. Default: 50.
        untimed_windows: windows before them, to warm up. Default: 5.
        mixed_steps: training steps in mixed precision on one batch. Default: 100.
        timed_steps: training steps whose time is measured. Default: 20.
        untimed_steps: training steps before them, to warm up. Default: 5.
        compiled: configs, and precisions, whose latency is measured compiled. Default: three
            configs in float32 and float16.
        demo: options of tools/demo.py. Default: none.
        reference_config: config that is compared with RVT's code. Default: "baseline".
        reference_options: settings of that config besides ``options``. Default: none.
        reference: a clone of RVT, whose code is executed. Default: none.
    """

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
    reference_config: str = "baseline"
    reference_options: dict[str, object] = field(default_factory=dict)
    reference: Path | None = None

    def config(self, name: str, **options: object) -> Config:
        """Loads a config of the package.

        Args:
            name: file name in configs/, without .py.
            **options: settings that are changed besides those of this size.
        """
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
    # RVT builds four stages only
    reference_options={
        "model.backbone.out_stages": (2, 3, 4),
        "model.backbone.embed_dims": 32,
        "model.neck.out_channels": None,
    },
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
