"""Does every config run on CUDA, as far as a stand-in without a card can say?

    python tests/proofs/cuda_stand_in.py [NAME ...]

For every file of configs/ (or those named): two training steps, the second from the carried state,
a prediction, and two windows of a stream with their state, on the device of tests/cuda_stand_in,
with few channels and small frames. An operator that gets tensors of two devices stops it with an
error. It prints how often the host waits in the second step and in the second window, and the
places with the number of configs that wait there. Ends with status 1 if a config fails. Takes half
a minute on a quiet core.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from etram_mmdet.utils.text import table
from tests.cuda_stand_in import device  # noqa: F401
from tests.cuda_stand_in.detectors import (
    CONFIGS,
    build,
    clips,
    narrow_config,
    predict,
    waits_of_windows,
    wrapper_of,
)
from tests.cuda_stand_in.waits import counted, recorded


def step(name: str) -> tuple[torch.nn.Module, Counter]:
    """The trained detector of a config, and the waits of its second step."""
    cfg = narrow_config(name)
    model = build(cfg)
    wrapper = wrapper_of(model, cfg)
    for is_first in (True, False):
        with recorded() as seen:
            log = model.train_step(clips(model, 2, 3, is_first), wrapper)
        waits = counted(seen)
        assert log["loss"].isfinite(), f"{name}: the loss is {log['loss'].item()}"
    return model, Counter(waits)


def main(names: list[str]) -> int:
    torch.set_num_threads(1)
    found, failed = {}, []
    for name in names:
        try:
            model, of_step = step(name)
            predict(model)
            found[name] = of_step, Counter(waits_of_windows(model)[1])
        except Exception:
            failed.append(name)
            traceback.print_exc()
    rows = [
        [name, str(of_step.total()), str(of_window.total())]
        for name, (of_step, of_window) in found.items()
    ]
    print(table([["config", "waits of a step", "of a window"], *rows]))
    print_places([of_step for of_step, _ in found.values()], "a step")
    print_places([of_window for _, of_window in found.values()], "a window")
    print(f"{len(found)} of {len(names)} configs run; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def print_places(waits: list[Counter], of: str) -> None:
    """All places of waits, with the number of configs."""
    configs = Counter(place for each in waits for place in each)
    for (what, where), number in configs.most_common():
        print(f"{of}: {what} in {where}: {number} configs")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [path.stem for path in CONFIGS]))
