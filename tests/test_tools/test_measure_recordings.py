"""Checkpoints are measured on labelled recordings with one command."""

from __future__ import annotations

import csv

import pytest

from tests.helpers.cli import run


@pytest.fixture(scope="module")
def measured(trained, raw_sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("measured")
    checkpoints = [trained[0], trained[0] / "iter_2.pth"]
    output = run(
        "tools/measure_recordings.py",
        raw_sample,
        *checkpoints,
        "--out",
        out,
        "--downsample",
        "nearest",
    )
    return out, output, checkpoints


def test_the_table_holds_what_the_tests_gave(measured):
    out, output, checkpoints = measured
    lines = (out / "table.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert "\n".join(lines) in output and [row[0] for row in cells[2:]] == [
        *map(str, checkpoints),
        "mean (range)",
    ]
    for number, row in enumerate(cells[2:4], start=1):
        with open(out / f"checkpoint_{number}" / "results.csv", newline="") as file:
            (tested,) = csv.DictReader(file)
        expected = [f"{100 * float(tested[f'coco/{name}']):.1f}" for name in ("AP50", "AP")]
        assert tested["split"] == "test" and row[1:3] == expected
    low, high = sorted(float(row[2]) for row in cells[2:4])
    assert cells[4][2].endswith(f"({low:.1f} to {high:.1f})")


def test_every_checkpoint_has_its_pictures(measured):
    out, _, checkpoints = measured
    assert all(
        list((out / f"checkpoint_{k}" / "pictures").glob("*.png"))
        for k in range(1, len(checkpoints) + 1)
    )


def test_a_folder_without_recordings_is_refused(tmp_path):
    output = run(
        "tools/measure_recordings.py", tmp_path, "work_dirs/x", "--out", tmp_path / "out", ok=False
    )
    assert (
        f"error: {tmp_path}: expected a folder test with recordings and labels, but there is none; "
        "see docs/data.md" in output
    )
