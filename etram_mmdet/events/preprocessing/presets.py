"""Rules of RVT's preprocessing for each dataset that it was made for."""

from __future__ import annotations

from dataclasses import dataclass

from etram_mmdet.events.choices import MIN_SIDE_PX, Preset


@dataclass(frozen=True)
class PresetRules:
    """Rules of one dataset, from RVT's ``scripts/genx/preprocess_dataset.py``.

    Args:
        max_class_id: boxes with a larger class id are left out. Default: none are.
        min_side_px: boxes with a shorter side, in sensor pixels, are left out. Default: 5.
        min_diagonal_px: boxes with a shorter diagonal, in sensor pixels, are left out. Default: 0.
        label_period_us: period of the grid of label times, in microseconds. Default: a tenth of a
            second, measured in labels at 30 or 60 Hz.
        sensor_px: width and height of the dataset's sensor, for files that do not state them.
            Default: unknown.
        downsample: how the image becomes smaller than the sensor, see ``Representation``. Default:
            ``nearest``.
        may_have_no_box: whether a recording without a box after the filters is left out without
            being a problem. Default: False.
    """

    max_class_id: int | None = None
    min_side_px: float = MIN_SIDE_PX
    min_diagonal_px: float = 0.0
    label_period_us: int | None = None
    sensor_px: tuple[int, int] | None = None
    downsample: str = "nearest"
    may_have_no_box: bool = False


PRESETS: dict[Preset, PresetRules] = {
    "etram": PresetRules(),
    "gen4": PresetRules(max_class_id=2, may_have_no_box=True),
    "gen1": PresetRules(
        min_side_px=10,
        min_diagonal_px=30,
        label_period_us=250_000,
        sensor_px=(304, 240),
        downsample="none",
        may_have_no_box=True,
    ),
}
