"""Measure reading, binning, compressing and loading on your own recordings, and what straight-from-raw costs."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path
from typing import get_args

from etram_mmdet.analysis.speed.data import frames_per_s, scaling, time_stages
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.preprocessing.frame_store import Codec
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("src", metavar="IN", help="dataset folder as tools/preprocess.py takes it")
    parser.add_argument("--class-set", default="etram8")
    parser.add_argument(
        "--codec", choices=get_args(Codec), default=PreprocessSettings.codec, help="of preprocessed frames"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    return parser.parse_args()


def measure(src: Path, class_set: str, codec: Codec) -> dict:
    settings, classes = PreprocessSettings(codec=codec), get_class_set(class_set)
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
        ms_per_frame={stage: 1e3 * seconds / best.num_frames for stage, seconds in best.seconds.items()},
        frames_per_s=rates,
        folder_events_per_s={str(count): rate for count, rate in workers.items()},
    )


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        result = measure(Path(args.src), args.class_set, args.codec)
        if args.json:
            write_json(args.json, result)
    print(f"{result['machine']}; largest recording {result['recording']}: {result['events'] / 1e6:.1f} M events")
    print(f"\npreprocessing to {result['codec']}, per frame (a frame is compressed while the next one is made)")
    for stage, ms in result["ms_per_frame"].items():
        print(f"  {stage:<24} {ms:8.2f} ms")
    print(f"  {'on disk':<24} {result['bytes_per_frame'] / 1e3:8.1f} kB")
    for count, rate in result["folder_events_per_s"].items():
        print(f"  {f'whole folder, {count} workers':<24} {rate / 1e6:8.1f} M events/s")
    print("\nloading clips of 5 frames, one process")
    for source, rate in result["frames_per_s"].items():
        print(f"  {source:<24} {rate:8.0f} frames/s")


if __name__ == "__main__":
    main()
