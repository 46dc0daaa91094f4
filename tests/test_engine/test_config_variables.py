"""A name that a config file assigns is read somewhere, or found."""

from __future__ import annotations

import json

import pytest

from etram_mmdet.engine.config.variables import unused_variables
from tests.helpers.paths import ROOT


def unused(folder, **files: str) -> set[str]:
    """Unused variables of ``mine.py``, which is written with the other given files."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return unused_variables(folder / "mine.py")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("lr = 0.1", {"lr"}),
        ("lr = 0.1\noptimizer = dict(lr=lr)", {"optimizer"}),
        ("lr: float = 0.1\na = b = 1", {"lr", "a", "b"}),
        ("_lr = 0.1", set()),
        ("root = 'x'\ndata = [f'{root}/a']", {"data"}),
        ("sizes = []\nfor size in (1, 2):\n    sizes.append(size)", set()),
        ("scale = 2\ndef double(x):\n    return scale * x\nlr = double(1)", {"lr"}),
        (
            "import os\nhome = '{{$HOME:none}}'\nname = {{fileBasename}}\nboth = home + name",
            {"both"},
        ),
        ("a, (b, *c) = 1, (2, 3)\nd = b", {"a", "c", "d"}),
    ],
)
def test_names_that_a_file_assigns_and_does_not_read(text, names, tmp_path):
    assert unused(tmp_path, mine=text) == names


BASE = "lr = 0.1\nmodel = dict(lr=lr)\nwidth = 3\ndepth = 4"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", {"model", "width", "depth"}),
        ("width = 4", {"model", "width", "depth"}),
        ("lr = 0.2", {"model", "width", "depth", "lr"}),  # the base has read its own
        ("head = dict(width=_base_.width, depth={{_base_.depth}})", {"model", "head"}),
        ("head = '{{_base_.model.lr}}'", {"width", "depth", "head"}),
    ],
)
@pytest.mark.parametrize("base", ["'./base.py'", "['base.py']"])
def test_variables_of_a_base_are_read_by_name(text, names, base, tmp_path):
    assert unused(tmp_path, base=BASE, mine=f"_base_ = {base}\n{text}") == names


def test_bases_of_bases_count(tmp_path):
    (tmp_path / "below").mkdir()
    files = {
        "below/root": BASE,
        "base": "_base_ = './below/root.py'",
        "mine": "_base_ = './base.py'\nx = _base_.width",
    }
    assert unused(tmp_path, **files) == {"model", "depth", "x"}


def test_the_newer_style_of_configs_reads_imported_names(tmp_path):
    text = "with read_base():\n    from .base import *\nhead = dict(width=width)\nlr = 0.2"
    assert unused(tmp_path, base=BASE, mine=text) == {"model", "depth", "head", "lr"}


def test_bases_elsewhere_are_not_looked_into(tmp_path):
    assert unused(
        tmp_path, mine="_base_ = ['mmdet::_base_/default_runtime.py', './gone.py']\nx = 1"
    ) == {"x"}


def test_json_has_no_variables(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(dict(_base_="x.py", lr=1)))
    assert unused_variables(tmp_path / "mine.json") == {"lr"}


def test_a_complete_config_has_used_its_variables(tmp_path):
    complete = "lr = 0.1\nwork_dir = 'x'\nlauncher = 'none'\nmodel = dict(lr=0.1)"
    assert unused(tmp_path, mine=complete) == set()
    assert unused(tmp_path, mine=f"{complete}\nx = lr") == {"work_dir", "launcher", "model", "x"}


def test_nothing_is_executed(tmp_path):
    assert unused(tmp_path, mine=f"x = open({str(tmp_path / 'made')!r}, 'w')") == {"x"}
    assert not (tmp_path / "made").exists()


def test_the_demo_uses_what_its_bases_define():
    assert "size_thresholds" not in unused_variables(
        ROOT / "configs" / "patch2_sizeaware_datadriven.py"
    )
    assert "vis_backends" not in unused_variables(ROOT / "configs" / "baseline.py")
