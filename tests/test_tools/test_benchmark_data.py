from __future__ import annotations

import json

from etram_mmdet.analysis.speed.data import time_stages
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import find_sources
from tests.helpers.cli import run


def test_stages_make_the_same_frames_as_preprocessing(raw_sample, sample, tmp_path):
    source = next(s for s in find_sources(raw_sample)[0] if s.split == "train")
    stages = time_stages(source, PreprocessSettings(), tmp_path / "frames.h5")
    tensors = (
        "event_representations_v2/stacked_histogram_dt=50_nbins=10/"
        "event_representations_ds2_nearest.h5"
    )
    written = sample / "train" / source.name / tensors
    assert (tmp_path / "frames.h5").read_bytes() == written.read_bytes()
    assert (
        all(seconds > 0 for seconds in stages.seconds.values())
        and stages.bytes_written == written.stat().st_size
    )


def test_table_and_json_hold_the_same_numbers(raw_sample, tmp_path):
    output = run(
        "tools/benchmark_data.py", raw_sample, "--codec", "lz4", "--json", tmp_path / "numbers.json"
    )
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert set(numbers["ms_per_frame"]) == {
        "events",
        "binning",
        "compression",
        "checksums",
        "writing",
    }
    for order in ("in order", "at random"):
        for source in ("preprocessed", "without checksums", "HDF5 per clip", "recording"):
            line = next(line for line in output.splitlines() if f"{source}, {order}" in line)
            assert line.split()[-2:] == [
                f"{numbers['frames_per_s'][f'{source}, {order}']:,.0f}",
                "frames/s",
            ]
    assert "1" in numbers["folder_events_per_s"]


def test_folder_without_recordings_is_a_sentence(tmp_path):
    assert "no recordings NAME_td.h5" in run("tools/benchmark_data.py", tmp_path, ok=False)
