"""One list holds exactly the private names of other packages that are used."""

from __future__ import annotations

import ast
import re

import pytest

from etram_mmdet.engine.config import differences
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models import inference
from etram_mmdet.utils.private_names import PRIVATE_NAMES, private
from tests.helpers.paths import ROOT

FILES = sorted((ROOT / "etram_mmdet").rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES if path.name != "private_names.py"}
IS_PRIVATE = re.compile(r"_[a-z]\w*$")
PUBLIC = {"_replace", "_asdict", "_fields"}  # NamedTuple's, which Python documents
SET_ON_RUNNER = {"_load_from", "_resume", "_has_loaded"}


def own_names() -> set[str]:
    found = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found - SET_ON_RUNNER


def foreign_names() -> set[str]:
    """Last parts of private names that are neither ours nor looked up through the list."""
    own, found = own_names(), set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and IS_PRIVATE.match(node.attr):
                found.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(
                ("etram_mmdet", "__future__")
            ):
                parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                found |= {part for part in parts if re.match(r"_[A-Za-z]", part)}
    return found - own - PUBLIC - {"_exit"}


def test_every_private_name_is_on_the_list():
    listed = {name.rpartition(".")[2] for name in PRIVATE_NAMES}
    assert foreign_names() <= listed


def test_the_list_holds_nothing_that_is_not_used():
    text = "\n".join(path.read_text() for path in TREES)
    for name in PRIVATE_NAMES:
        last = name.rpartition(".")[2]
        assert re.search(rf"\b{last}\b", text), name


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_it_exists_in_what_is_installed(name):
    if name.startswith("mmengine.runner.Runner._"):  # set by its constructor
        import inspect

        from mmengine.runner import Runner

        assert f"self.{name.rpartition('.')[2]} = " in inspect.getsource(Runner.__init__)
        return
    assert private(name) is not None


def test_only_listed_names_are_looked_up():
    with pytest.raises(KeyError, match="not on the list"):
        private("torch._C._cuda_init")


def test_a_missing_name_costs_a_line_of_the_summary(monkeypatch):
    monkeypatch.setattr(differences, "private", lambda name: None)
    (line,) = differences.differences_to_parent(load_config(ROOT / "configs" / "patch2.py"))
    assert line.startswith("not compared with its _base_")


def test_a_missing_operator_leaves_plain_layers(monkeypatch):
    import torch

    monkeypatch.setattr(inference, "private", lambda name: None)
    assert not inference._onednn_multiplies(torch.float32)
    with inference._setting("torch._inductor.config", freezing=True):
        pass
