"""Measurements and texts of tools/benchmark_data.py."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

from etram_mmdet.analysis.speed.data import frames_per_s, scaling, time_stages
from etram_mmdet.events.choices import Codec
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.utils.text import number, table


def measure(src: Path, class_set: str, codec: Codec) -> dict:
    """Times the largest recording of a folder, and the preprocessing of the whole folder.

    Args:
        src: folder of recordings.
        class_set: name of the class set that says what the ids in label files mean.
        codec: compression of the frames.

    Raises:
        InputError: the folder holds no recording, or the name of the class set is unknown.
    """
    settings = PreprocessSettings(codec=codec, class_set=class_set)
    classes = get_class_set(class_set)
    source = max(find_sources(src)[0], key=lambda s: s.events.stat().st_size)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        stages = [time_stages(source, settings, out / "frames.h5") for _ in range(3)]
        best = min(stages, key=lambda s: sum(s.seconds.values()))
        rates = frames_per_s(source, settings, classes, out / "sequence")
        workers = scaling(src, out / "folder", settings, sorted({1, os.cpu_count()}))
    return dict(
        machine=f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        recording=source.name,
        codec=codec,
        events=best.num_events,
        frames=best.num_frames,
        bytes_per_frame=best.bytes_written / best.num_frames,
        ms_per_frame={
            stage: 1e3 * seconds / best.num_frames for stage, seconds in best.seconds.items()
        },
        frames_per_s=rates,
        folder_events_per_s={str(count): rate for count, rate in workers.items()},
    )


def format_times(result: dict) -> str:
    """Formats times as text.

    Args:
        result: result of :func:`measure`.
    """
    lines = [
        f"{result['machine']}; largest recording {result['recording']}: "
        f"{result['events'] / 1e6:.1f} M events",
        f"\npreprocessing to {result['codec']}, per frame (a frame is compressed while the next "
        "one is made)",
    ]
    making = [[f"  {stage}", number(ms, 2), "ms"] for stage, ms in result["ms_per_frame"].items()]
    making.append(["  on disk", number(result["bytes_per_frame"] / 1e3, 1), "kB"])
    for count, rate in result["folder_events_per_s"].items():
        making.append([f"  whole folder, {count} workers", number(rate / 1e6, 1), "M events/s"])
    loading = [
        [f"  {source}", number(rate), "frames/s"] for source, rate in result["frames_per_s"].items()
    ]
    lines += [
        table(making, left=(0, 2)),
        "\nloading clips of 5 frames, one process",
        table(loading, left=(0, 2)),
    ]
    return "\n".join(lines)
