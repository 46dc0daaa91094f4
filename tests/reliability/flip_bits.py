"""Flip single bits of a sequence folder; count how often it is noticed and how often not.

    python -m tests.reliability.flip_bits --count 2000

Half of the bits lie in the file of frames, the others in the smaller files by turns. ``--bare``
takes the checksums away first, as versions before them wrote folders.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.events.choices import RVT_REPRESENTATION
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.open_files import OPEN_FILES
from tests.helpers.raw import write_recording
from tests.helpers.sequence_folders import forget_checksums, frames_in
from tests.helpers.street import make_street

OUTCOMES = ("noticed", "without effect", "changed in silence", "traceback")


def make_folder(root: Path, *, bare: bool = False) -> Path:
    """A sequence folder of three seconds of a small street; ``bare``: without checksums."""
    events, boxes = make_street()
    boxes["w"][::7] = 4  # some that are ignored
    write_recording(root / "raw" / "train", "a", events, boxes)
    summary = preprocess_folder(root / "raw", root / "out", keep_implausible=True)
    folder = root / "out" / "train" / "a"
    assert summary.manifests, summary
    if bare:
        forget_checksums(folder)
    return folder


def contents(folder: Path) -> list[np.ndarray]:
    """Everything that training and evaluation take from a sequence folder."""
    sequence = FolderSequence(folder, RVT_REPRESENTATION, 50_000, get_class_set("etram8"))
    try:
        frames = sequence.read(0, sequence.num_frames)
    finally:
        OPEN_FILES.close(sequence)
    boxes = [
        part
        for i in range(sequence.num_frames)
        for part in (*sequence.boxes_of(i), *sequence.ignored_of(i))
    ]
    times = np.array([sequence.start_us, sequence.step_us, *sequence.hw, *sequence.t_us])
    return [frames, times, sequence.labelled, *boxes, *sequence.all_boxes()]


def try_flip(folder: Path, path: Path, bit: int, expected: list[np.ndarray]) -> str:
    """One of ``OUTCOMES`` for bit ``bit`` of ``path``, which is restored afterwards."""
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        found = contents(folder)
    except InputError:
        return "noticed"
    except Exception as error:
        print(f"{path.name} bit {bit}: {type(error).__name__}: {error}")
        return "traceback"
    finally:
        path.write_bytes(whole)
    is_same = len(found) == len(expected) and all(map(_equal, found, expected))
    if not is_same:
        print(f"{path.name} bit {bit}: changed in silence")
    return "without effect" if is_same else "changed in silence"


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def flip_bits(folder: Path, count: int, seed: int = 0) -> Counter[tuple[str, str]]:
    """How often each of ``OUTCOMES`` came, by the name of the file."""
    rng = np.random.default_rng(seed)
    expected = contents(folder)
    frames = frames_in(folder)
    others = sorted(path for path in folder.rglob("*") if path.is_file() and path != frames)
    found: Counter[tuple[str, str]] = Counter()
    for i in range(count):
        path = frames if i % 2 else others[i // 2 % len(others)]
        found[
            path.name, try_flip(folder, path, int(rng.integers(8 * path.stat().st_size)), expected)
        ] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000, help="bits (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bare", action="store_true", help="a folder without checksums")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        found = flip_bits(make_folder(Path(root), bare=args.bare), args.count, args.seed)
    for name in sorted({name for name, _ in found}):
        print(f"{name}: " + ", ".join(f"{outcome} {found[name, outcome]}" for outcome in OUTCOMES))
    total = {outcome: sum(n for (_, o), n in found.items() if o == outcome) for outcome in OUTCOMES}
    print(f"{args.count} bits: " + ", ".join(f"{outcome} {n}" for outcome, n in total.items()))


if __name__ == "__main__":
    main()
