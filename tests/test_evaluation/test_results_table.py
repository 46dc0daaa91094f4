"""results.csv with processes that write at the same time, are killed or are frozen."""

from __future__ import annotations

import csv
import os
import random

import pytest

from etram_mmdet.evaluation.results_table import append_row
from etram_mmdet.utils import locks
from etram_mmdet.utils.errors import InputError
from tests.reliability.append_rows import append_at_once


def test_no_row_is_lost_to_another_process_or_a_kill(tmp_path):
    """Every process has a column that the others lack."""
    found = append_at_once(tmp_path, processes=8, rows=6, kills=6, rng=random.Random(0))
    assert found.told >= 48 and found.killed == 6
    assert (found.lost, found.damaged) == (0, 0)
    assert not list(tmp_path.glob(".*.lock"))


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        ("a,b\n1,2\n3", [("1", "2")]),
        ("a,b\n1,2\n3,4", [("1", "2")]),  # 4 may be the beginning of 45
        ("a,b\n1\n3,4\n", [("3", "4")]),
        ("a,b\n1,2,3\n3,4\n", [("3", "4")]),
        (b"a,b\n1,\xff\n", []),
    ],
)
def test_rows_cut_off_are_left_out_and_kept(tmp_path, content, whole):
    path = tmp_path / "results.csv"
    before = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(before)
    append_row(path, dict(a=5, b=6, c=7))
    with path.open(newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [*((a, b, "") for a, b in whole), ("5", "6", "7")]
    (kept,) = tmp_path.glob("results.damaged_*.csv")
    assert kept.read_bytes() == before


def test_a_table_that_a_frozen_process_locks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "WAIT_S", 0.2)
    path = tmp_path / "results.csv"
    with (
        locks.changing(path),
        pytest.raises(InputError, match=r"results.csv: another process has kept it locked"),
    ):
        append_row(path, dict(a=1))
    append_row(path, dict(a=1))
    assert path.read_text() == "a\n1\n" and os.listdir(tmp_path) == ["results.csv"]
