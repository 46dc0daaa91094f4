"""Run RVT's representations and its script for preprocessing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tests.reference.event_sets import HEIGHT, WIDTH, event_sets, maps_to_halve

# The filter that the files are written with has to be known to HDF5, which eTraM's script does not
# care for.
_RUN = (
    "import hdf5plugin, runpy, sys; del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def representation_answers() -> dict[str, np.ndarray]:
    from data.utils.representations import MixedDensityEventStack, StackedHistogram
    from scripts.genx.preprocess_dataset import downsample_ev_repr

    made = dict(
        sh10_fast=StackedHistogram(10, HEIGHT, WIDTH, count_cutoff=10, fastmode=True),
        sh10_slow=StackedHistogram(10, HEIGHT, WIDTH, count_cutoff=10, fastmode=False),
        sh10_nocut=StackedHistogram(10, HEIGHT, WIDTH, count_cutoff=None, fastmode=True),
        md_32=MixedDensityEventStack(10, HEIGHT, WIDTH, count_cutoff=32),
        md_none=MixedDensityEventStack(10, HEIGHT, WIDTH, count_cutoff=None),
    )
    answers = {}
    for name, events in event_sets().items():
        _check_margin(name, events[3])
        for variant, representation in made.items():
            answers[f"{name} {variant}"] = representation.construct(
                *torch.from_numpy(events)
            ).numpy()
    for name, maps in maps_to_halve().items():
        answers[f"halved {name}"] = downsample_ev_repr(torch.from_numpy(maps), 0.5).numpy()
    return answers


def _check_margin(name: str, t_us: np.ndarray) -> None:
    """Check that no event lies too close to the end of a mixed-density bin.

    The rounding of a logarithm would decide about it.
    """
    since = t_us - t_us.min(initial=2**62)
    inner = since[(since > 0) & (since < since.max(initial=0))]
    bins = np.log2(inner / since.max(initial=1))
    distance = np.abs(bins - bins.round()).min(initial=1)
    print(f"{name}: an event is at least {distance:.2g} bins from the end of one")
    if distance < 1e-5:
        raise SystemExit(f"{name}: rounding could decide; change the events")


def preprocess(clone: Path, dataset: str, raw: Path, out: Path) -> None:
    """Run the script of ``clone`` as its README says for ``dataset``."""
    folder = clone / "scripts" / "genx"
    settings = [
        f"conf_preprocess/{f}.yaml"
        for f in ("representation/stacked_hist", "extraction/const_duration")
    ]
    boxes = f"conf_preprocess/filter_{'gen1' if dataset == 'gen1' else 'gen4'}.yaml"
    command = ["preprocess_dataset.py", raw, out, *settings, boxes, "-ds", dataset]
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, "-c", _RUN, *map(str, command)], cwd=folder, check=True)
