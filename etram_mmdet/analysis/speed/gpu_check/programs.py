"""Parts of the GPU check that run programs as users do: the GPU tests and the demo."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import torch

from etram_mmdet.analysis.speed.gpu_check.size import Size
from etram_mmdet.utils.environment import ROOT


def tests(device: torch.device, _: Size, folder: Path) -> Iterator[dict]:
    """Runs ``pytest -m gpu``; yields a row of counts, then one row per test.

    On a CPU all tests are skipped. On a GPU none should be.

    Args:
        device: device whose tests run.
        _: not used.
        folder: folder for pytest's report, tests.xml.
    """
    import pytest  # not needed to run anything else

    file = ROOT / "tests" / "test_gpu.py"
    if not file.is_file():
        yield dict(
            tests=0,
            reason="an installed wheel holds no tests; run this part in a clone of the repository",
            holds=False,
        )
        return
    path = folder / "tests.xml"
    path.unlink(missing_ok=True)
    options = [
        "-v",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "-o",
        "junit_family=xunit1",
        f"--junitxml={path}",
    ]
    status = pytest.main([str(file), *options])
    rows = _outcomes(path) if path.is_file() else []
    counts = {
        outcome: sum(row["outcome"] == outcome for row in rows)
        for outcome in ("passed", "failed", "skipped")
    }
    expected = "passed" if device.type == "cuda" else "skipped"
    yield dict(
        tests=len(rows), **counts, holds=not status and bool(rows) and counts[expected] == len(rows)
    )
    yield from rows


def _outcomes(path: Path) -> list[dict]:
    return [
        dict(
            test=case.get("name"),
            outcome="failed"
            if kinds & {"failure", "error"}
            else "skipped"
            if "skipped" in kinds
            else "passed",
            seconds=float(case.get("time")),
        )
        for case in ElementTree.parse(path).iter("testcase")
        for kinds in [{child.tag for child in case}]
    ]


def demo(_: torch.device, size: Size, folder: Path) -> Iterator[dict]:
    """Runs ``tools/demo.py``, which simulates, preprocesses, trains and tests; yields one row.

    Training uses the GPU if it finds one.

    Args:
        _: not used.
        size: its ``demo`` holds the options of the tool.
        folder: folder in which the demo gets a folder of its own.
    """
    start = time.monotonic()
    work_dir = folder / "demo"
    paths = ["--data", str(work_dir / "data"), "--work-dir", str(work_dir / "run")]
    subprocess.run([sys.executable, "tools/demo.py", *paths, *size.demo], cwd=ROOT, check=True)
    with open(work_dir / "run" / "results.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    yield dict(
        seconds=time.monotonic() - start,
        step=int(last["step"]),
        ap=float(last["coco/AP"]),
        ap50=float(last["coco/AP50"]),
        frames=int(float(last["coco/frames"])),
        boxes=int(float(last["coco/boxes"])),
    )
