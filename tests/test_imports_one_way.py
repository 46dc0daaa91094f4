"""Data flows one way, and so do imports."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

# Every package and module directly inside etram_mmdet; each may import itself and what stands
# before it.
ORDER = """
    utils ops events simulation datasets models testing evaluation visualization engine
    tracking deploy apis analysis plugins __init__ __main__
""".split()
PACKAGE = ROOT / "etram_mmdet"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "mmdet", "mmcv", "mmengine", "torchvision", "matplotlib")


def imported(path):
    """Absolute names of everything that a file imports, inside functions too."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (
                [f"{module}.{a.name}" for a in node.names] if module == "etram_mmdet" else [module]
            )


def layer(parts):
    return ORDER.index(parts[1]) if len(parts) > 1 else ORDER.index("__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_up_the_flow(path):
    own = layer(path.relative_to(ROOT).with_suffix("").parts)
    for name in imported(path):
        if name.split(".")[0] == "etram_mmdet":
            assert layer(name.split(".")) <= own, f"{path} imports {name}"


def named(path):
    """Module and name of every ``from`` import of this package, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "etram_mmdet":
            yield from ((node.module, alias.name) for alias in node.names)


def test_everything_that_is_imported_exists():
    found = {
        pair: path for path in [*FILES, *(ROOT / "tools").glob("*.py")] for pair in named(path)
    }
    missing = {
        f"{path.relative_to(ROOT)}: {pair}" for pair, path in found.items() if not exists(*pair)
    }
    assert len(found) > 300 and not missing


def exists(module, name):
    if importlib.util.find_spec(module) is None:
        return False
    return (
        hasattr(importlib.import_module(module), name)
        or importlib.util.find_spec(f"{module}.{name}") is not None
    )


def test_every_package_has_its_place():
    packages = {
        path.name
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert {name.removesuffix(".py") for name in packages} <= set(ORDER)


LIGHT = (
    "etram_mmdet",
    "etram_mmdet.utils.environment",
    "etram_mmdet.events.formats",
    "etram_mmdet.events.preprocessing.folder",
    "etram_mmdet.events.representations",
    "etram_mmdet.simulation.sample",
    "etram_mmdet.evaluation.results",
    "etram_mmdet.evaluation.operating_points.tuning",
    "etram_mmdet.evaluation.predictions",
    "etram_mmdet.evaluation.coco",
    "etram_mmdet.evaluation.evaluate",
    "etram_mmdet.visualization.detection_sheet",
    "etram_mmdet.visualization.figures.evaluation",
    "etram_mmdet.analysis.dataset.report",
    "etram_mmdet.apis",
    "etram_mmdet.apis.sinks",
)


@pytest.mark.parametrize("module", LIGHT)
def test_what_a_recording_needs_loads_no_deep_learning(module):
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
