"""Give every setting every wrong value.

    python -m tests.reliability.typed_values [CONFIG ...] [--count N] [--seed S]

Each try sets one setting of a config to one of `VALUES`, as an option or in a file that builds upon
the config. Then the config is read, everything is built and a dry run is made, on recordings and a
network so small that a try takes a tenth of a second. A try works, ends in a sentence
(``InputError``), or ends in a traceback, which is a fault of the project.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import random
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from unittest.mock import patch

from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.hooks.evaluation_report import EvaluationReportHook
from etram_mmdet.engine.runner.dry_run import dry_run
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

CONFIGS = ("baseline", "patch2_sizeaware", "patch2_sizeaware_demo")
VALUES = ("text", -1, 0, [1, 2], dict(a=1), None)
WAYS = ("option", "file")
# Small, on this process alone; what is tried replaces what stands here.
TINY = {
    "model.backbone.embed_dims": 8,
    "model.backbone.head_dim": 8,
    "model.backbone.partition_size": (1, 3),
    "model.neck.num_csp_blocks": 1,
    "model.neck.out_channels": 8,
    **{f"{split}_dataloader.num_workers": 0 for split in ("train", "val", "test")},
    **{f"{split}_dataloader.batch_size": 1 for split in ("train", "val", "test")},
    "train_dataloader.batch_size": 2,
    "train_dataloader.dataset.clip_length": 2,
}

Try = tuple[str, str, str, object]  # config, way, dotted key, value


def leaves(node: object, path: str = "") -> Iterator[str]:
    """Dotted keys of everything in a config that is neither a dict nor a list of dicts."""
    is_list = (
        isinstance(node, list | tuple) and node and all(isinstance(item, dict) for item in node)
    )
    if not isinstance(node, dict) and not is_list:
        yield path
        return
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        yield from leaves(child, f"{path}.{key}".removeprefix("."))


def all_tries(configs: tuple[str, ...] = CONFIGS) -> list[Try]:
    """Every value at every setting of the configs; in a file only where no list lies on the way."""
    found = []
    for name in configs:
        keys = leaves(Config.fromfile(ROOT / "configs" / f"{name}.py").to_dict())
        for key, value, way in product(keys, VALUES, WAYS):
            if way == "option" or not any(part.isdigit() for part in key.split(".")):
                found.append((name, way, key, value))
    return found


def outcome(tried: Try, data_root: Path, folder: Path) -> tuple[str, str]:
    """``works``, ``sentence`` or ``traceback``, and what was said."""
    name, way, key, value = tried
    path = ROOT / "configs" / f"{name}.py"
    options = {"data_root": str(data_root), **TINY}
    options = {option: small for option, small in options.items() if not _overlap(option, key)}
    if way == "option":
        options[key] = value
    else:
        path = _child(folder / "child.py", path, key, value)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            cfg = load_config(path, options)
            cfg.work_dir = cfg.get("work_dir") or str(folder / "work")
            dry_run(cfg)
        return "works", ""
    except (InputError, FloatingPointError) as error:
        return "sentence", str(error)
    except Exception:
        return "traceback", traceback.format_exc()
    finally:
        _forget_runs()


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _child(file: Path, base: Path, key: str, value: object) -> Path:
    *outer, last = key.split(".")
    for part in reversed(outer):
        value, last = {last: value}, part
    file.write_text(f"_base_ = {str(base)!r}\n{last} = {value!r}\n")
    return file


def _forget_runs() -> None:
    """Forget everything that mmengine keeps by the name of a run.

    Two tries within a second have the same name.
    """
    for logger in list(MMLogger._instance_dict.values()):
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
    for kind in (MMLogger, MessageHub, DefaultScope, Visualizer, *_subclasses(Visualizer)):
        kind._instance_dict.clear()


def _subclasses(kind: type) -> list[type]:
    return [each for child in kind.__subclasses__() for each in (child, *_subclasses(child))]


def run(
    tries: list[Try], data_root: Path, show: bool = False
) -> tuple[Counter, list[tuple[Try, str]]]:
    """Outcomes counted, and every try that ended in a traceback with it."""
    counts, faults = Counter(), []
    drawing = patch.object(
        EvaluationReportHook, "_report"
    )  # takes most of the time, and no setting decides on it
    with tempfile.TemporaryDirectory() as folder, drawing:
        for tried in tries:
            result, said = outcome(tried, data_root, Path(folder))
            counts[result] += 1
            if show:
                print(
                    f"{result:9} {tried}: {said.strip().splitlines()[-1] if said else ''}"[:300],
                    flush=True,
                )
            if result == "traceback":
                faults.append((tried, said))
    return counts, faults


def main() -> None:
    from etram_mmdet.events.preprocessing.folder import preprocess_folder
    from etram_mmdet.simulation.sample import make_sample

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="*", default=CONFIGS)
    parser.add_argument("--count", type=int, help="so many of the tries; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="one line for every try")
    args = parser.parse_args()
    tries = all_tries(tuple(args.configs))
    if args.count:
        tries = random.Random(args.seed).sample(tries, min(args.count, len(tries)))
    with tempfile.TemporaryDirectory() as folder:
        raw, data = Path(folder, "raw"), Path(folder, "data")
        make_sample(raw, width=96, height=64, recordings=(1, 1, 1), duration_s=0.6, workers=1)
        preprocess_folder(raw, data, workers=1)
        counts, faults = run(tries, data, args.verbose)
    for tried, said in faults:
        print(f"{tried}\n{said}")
    print(
        f"{len(tries)} tries: "
        + ", ".join(f"{counts[k]} {k}" for k in ("works", "sentence", "traceback"))
    )


if __name__ == "__main__":
    main()
