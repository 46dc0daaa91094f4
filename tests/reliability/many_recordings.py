"""Read more recordings than a process may have open files, here and in loading processes.

python -m tests.reliability.many_recordings --count 400 --limit 256
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from etram_mmdet.datasets import ETraMDataset, RawEventDataset
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import write_dat, write_evt3, write_npz_table
from tests.helpers.raw import HEIGHT, WIDTH, make_boxes, make_events, write_events

KINDS = {"out": "sequence folders", "raw": "recordings"}
WRITERS = {".h5": write_events, ".raw": write_evt3, ".dat": write_dat, ".npz": write_npz_table}


def make_data(root: Path, count: int) -> None:
    """Make ``count`` equal recordings in ``root/raw`` and as many sequence folders.

    The recordings have each format in turn.
    """
    events = make_events()
    for i in range(count):
        suffix, write = list(WRITERS.items())[i % len(WRITERS)]
        (root / "raw" / "train").mkdir(parents=True, exist_ok=True)
        write(root / "raw" / "train" / f"{i:04d}_td{suffix}", events)
        np.save(
            root / "raw" / "train" / f"{i:04d}_bbox.npy", make_boxes([100_000, 200_000, 300_000])
        )
    first = root / "first" / "train"
    first.mkdir(parents=True)
    for path in (root / "raw" / "train").glob("0000_*"):
        shutil.copy(path, first)
    preprocess_folder(root / "first", root / "one")
    for i in range(count):
        shutil.copytree(root / "one" / "train" / "0000", root / "out" / "train" / f"{i:04d}")


def read_all(dataset: ETraMDataset, workers: int) -> tuple[int, str]:
    """How many clips were read, every one twice, and the first error."""
    dataset.pipeline = lambda results: bool(
        results["frames"].any()
    )  # all that has to come from loading processes
    loader = DataLoader(dataset, batch_size=None, shuffle=True, num_workers=workers)
    done = 0
    try:
        for _ in range(2):
            done += sum(loader)
    except (InputError, OSError) as error:
        return done, str(error)
    return done, ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=400, help="recordings (default: 400)")
    parser.add_argument("--limit", type=int, default=256, help="open files (default: 256)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data(root, args.count)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (args.limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
        for kind, build in (
            ("out", ETraMDataset),
            ("raw", partial(RawEventDataset, sensor_px=(WIDTH, HEIGHT))),
        ):
            for workers in (0, 2):
                done, error = 0, ""
                try:
                    dataset = build(str(root / kind), "train")
                    done, error = read_all(dataset, workers)
                except (InputError, OSError) as failure:
                    error = str(failure)
                wanted = 2 * 3 * args.count
                print(
                    f"{KINDS[kind]}, {workers} workers: {done} of {wanted} clips read "
                    f"{error[:300]}".rstrip()
                )


if __name__ == "__main__":
    main()
