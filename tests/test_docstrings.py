"""Every argument of every public function and registered class stands in its docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "etram_mmdet"
# These rooms have been read through; analysis, apis, evaluation and visualization have not yet.
ROOMS = ("datasets", "engine", "events", "models", "ops", "simulation", "utils")
# Phrases that leave out the subject, or a fine word for a common thing.
RIDDLES = ("the origin", " of those that ", "; the whole without")


def described(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Public functions and constructors of public classes, with their docstrings."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    yield (
                        node.name,
                        method,
                        f"{ast.get_docstring(node)}\n{ast.get_docstring(method)}",
                    )


def missing(path: Path) -> list[str]:
    found = []
    for name, function, docstring in described(ast.parse(path.read_text())):
        arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        names = [each.arg for each in arguments if each.arg not in ("self", "cls")]
        found += [f"{name}: {each}" for each in names if not re.search(rf"\b{each}\b", docstring)]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_argument_is_described(room):
    found = {
        str(path.relative_to(ROOT)): missing(path)
        for path in sorted((PACKAGE / room).rglob("*.py"))
    }
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_name_their_subject(room):
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split())
                riddles = [each for each in RIDDLES if each in text]
                assert not riddles, (
                    f"{path.relative_to(ROOT)}: {getattr(node, 'name', 'module')}: {riddles}"
                )


def test_a_missing_argument_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('def f(a, b_px=1):\n    """Does it.\n\n    Args:\n        a: what.\n    """\n')
    assert missing(path) == ["f: b_px"]
