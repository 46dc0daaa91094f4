"""What is wrong with a config file is one sentence with the file and the line."""

from __future__ import annotations

import re

import pytest

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

BASE = f'_base_ = "{ROOT}/configs/baseline.py"\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BASE + "model = dict(\n", r"mine\.py, line 2: is not valid Python"),
        (
            BASE + "\nmodel = dcit(a=1)\n",
            r"mine\.py, line 3: NameError: name 'dcit' is not defined$",
        ),
        (
            b"\xef\xbb\xbf" + BASE.encode(),
            r"mine\.py: begins with a byte-order mark; save it as UTF-8 without",
        ),
        (BASE.encode() + b"# gr\xf6\xdfe\n", r"mine\.py: is not text in UTF-8 \(byte \d+\)"),
        (b"a = 1\x00", r"mine\.py: is not valid Python"),
        ("# nothing\n", r"mine\.py: is empty; begin with _base_"),
        (
            '_base_ = "./none.py"\n',
            r"mine\.py: builds upon .*none\.py, which does not exist; correct _base_",
        ),
        ('_base_ = "./mine.py"\n', r"builds upon itself \(mine\.py -> mine\.py\)"),
        (
            f'_base_ = ["{ROOT}/configs/baseline.py", '
            f'"{ROOT}/configs/_base_/default_runtime.py"]\n',
            r"baseline\.py and default_runtime\.py, both in _base_, set \w+; keep one of them",
        ),
        (
            BASE + "custom_imports = dict(imports=['no_such_module'])\n",
            "No module named 'no_such_module'",
        ),
        (
            BASE + "train_cfg = dict(max_iters=dict(a=1))\n",
            "max_iters={'a': 1} in child config cannot inherit",
        ),
    ],
    ids="syntax name bom latin1 nul empty parent circle parents module dict".split(),
)
def test_a_config_file_is_refused_by_name(content, says, tmp_path):
    path = tmp_path / "mine.py"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=says):
        load_config(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("iter_2.pth", "checkpoint"),
        ("rec_td.H5", "recording"),
        ("a.raw", "recording"),
        ("", "folder"),
    ],
)
def test_a_file_in_the_place_of_a_config_is_called_by_its_kind(name, kind, tmp_path):
    if name:
        (tmp_path / name).touch()
    with pytest.raises(
        InputError, match=re.escape(f"{tmp_path / name}: is a {kind}, expected a config")
    ):
        load_config(tmp_path / name)


def test_what_is_no_file_is_no_config():
    with pytest.raises(InputError, match=r"^/dev/null: not a regular file"):
        load_config("/dev/null")


def test_a_config_may_hold_placeholders_and_build_upon_two_that_differ(tmp_path):
    (tmp_path / "rate.py").write_text("base_lr = 3e-4\n")
    (tmp_path / "mine.py").write_text(
        f'_base_ = ["{ROOT}/configs/_base_/default_runtime.py", '
        f'"{ROOT}/configs/_base_/models/rvt.py",\n'
        f'    "{ROOT}/configs/_base_/datasets/etram.py", "./rate.py"]\n'
        "work_dir = 'work_dirs/{{fileBasenameNoExtension}}'\nlr = {{_base_.base_lr}}\n_kept = lr\n"
    )
    cfg = load_config(tmp_path / "mine.py")
    assert cfg.base_lr == 3e-4 and cfg.work_dir == "work_dirs/mine"
