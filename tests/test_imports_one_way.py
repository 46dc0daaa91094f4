"""Data flows one way, and so do imports."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import ROOT

ORDER = ("events", "datasets", "inspection", "models", "evaluation", "visualization", "engine", "apis")
FILES = sorted((ROOT / "etram_mmdet").rglob("*.py"))


def imported(path):
    """Absolute names of everything that a file imports."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*base, *([node.module] if node.module else [])])


def layer(parts):
    return ORDER.index(parts[1]) if len(parts) > 1 and parts[1] in ORDER else None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_up_the_flow(path):
    own = layer(path.relative_to(ROOT).with_suffix("").parts)
    for name in imported(path):
        other = layer(name.split(".")) if name.startswith("etram_mmdet") else None
        assert own is None or other is None or other <= own, f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if "events" in p.parts], ids=lambda p: p.name)
def test_events_need_no_deep_learning(path):
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & {"torch", "mmdet", "mmcv", "mmengine", "torchvision"}
