"""Tables, numbers, near names and differences between settings."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.utils.text import (
    changes,
    did_you_mean,
    differences,
    markdown_table,
    nearest,
    number,
    percent,
    shown,
    table,
)


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [["class", "boxes", "note"], ["pedestrian", 5, "few"], ["car", None, ""]]
    assert table(rows).split("\n") == [
        "class       boxes  note",
        "pedestrian      5   few",
        "car             -",
    ]
    assert table(rows, gap=1, left=(0, 2)).split("\n")[1] == "pedestrian     5 few"


def test_markdown_lines_up_and_escapes():
    long = "x" * 70
    lines = markdown_table(["a", "b|c"], [["1", "two\nlines"], [long, ""]]).split("\n")
    assert lines[0].startswith("| a  ") and lines[0].endswith("| b\\|c      |")
    assert lines[2].endswith("| two lines |")
    assert (
        len(lines[0]) == len(lines[1]) == len(lines[2]) < len(lines[3])
    )  # one long cell widens its own row only
    assert set(lines[1]) == set("|- ")


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan")])
def test_what_is_missing_is_a_dash(missing):
    assert number(missing) == number(missing, 4) == percent(missing) == "-"


def test_numbers():
    assert [number(12345), number(np.int64(7)), number(1234.56, 1), number(0.12345, 4)] == [
        "12,345",
        "7",
        "1,234.6",
        "0.1235",
    ]
    assert [percent(0.1234), percent(1, 0), percent(0)] == ["12.3 %", "100 %", "0.0 %"]


def test_the_nearest_name():
    known = ("train", "test", "detect")
    assert nearest("tarin", known) == "train" and nearest("tarin", known, 0.9) is None
    assert did_you_mean("detct", known) == "did you mean detect?"
    assert did_you_mean("zzz", known) == "expected one of train, test, detect"


def test_settings_that_differ_by_their_path():
    """Lists item by item where both hold the same types, else as one setting; tuples are lists."""
    flip = dict(type="Flip", prob=0.5)
    first = dict(
        lr=1, size=(4, 6), pipeline=[flip, dict(type="Zoom", by=2)], hooks=[flip], only=dict(a=1)
    )
    other = dict(lr=1, size=[4, 6], pipeline=[flip, dict(type="Zoom", by=3)], hooks=[], more=None)
    assert differences([first, other]) == {
        "hooks": [[flip], []],
        "only": [dict(a=1), None],
        "pipeline.1.by": [2, 3],
    }
    assert differences([first, first, dict(first, lr=2)]) == {"lr": [1, 1, 2]}
    assert differences([[dict(a=1)], [dict(a=2)]], "x") == {"x": [[dict(a=1)], [dict(a=2)]]}
    assert differences(
        [dict(a=1, b=dict(c=1)), dict(a=2, b=dict(c=2))], ignored=lambda key: key == "c"
    ) == {"a": [1, 2]}


def test_defaults_may_stand_for_what_is_left_out():
    def setting(cfg, key):
        return cfg.get(key, 4)

    assert differences([dict(size=4), {}], setting=setting) == {}
    nested = [dict(head=dict(size=2)), dict(head={})]
    assert differences(nested, "model", setting=setting) == {"model.head.size": [2, 4]}


def test_changes_are_lines():
    before = dict(lr=0.1, head=dict(type="A", num=3))
    after = dict(lr=0.2, head=dict(type="A", num=3), amp=True)
    assert changes(before, after) == ["amp: unset, now True", "lr: 0.1, now 0.2"]
    assert changes(before, after, "cfg")[1] == "cfg.lr: 0.1, now 0.2"
    assert shown(None) == "unset" and shown(dict(a=1)) == "dict(a=1)"
    assert shown([dict(type="Zoom", by=(1, 2)), dict(type="Flip")]) == "[Zoom(by=[1, 2]), Flip]"
