"""Docstrings describe their arguments, and what a reader sees is in plain words.

That no line is longer than 100 columns is checked by `make lint` (ruff's rule E501).
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "etram_mmdet"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
# Phrases that leave out their subject, or a fine word for a common thing; what to write instead.
RIDDLES = {
    r"\bthe origin\b(?! of)": "the first experiment",
    r"\bof those that\b": "name the things",
    r"\bthe whole without\b": "default: the whole recording",
    r"\b(is|are) told\b(?! apart)": "is printed, is logged, is returned",
    r"\bwhat it made of\b": "name the result",
    r"\bfrom `+[\w.]+`+ on\b": "at least",
    r"\banew\b": "again",
    r"\bas (it is|they are)(?=[,.;:)\"]|$)": "unchanged",
    r"\bstands? (in|beside)\b": "is in, lies next to, is written in",
    r"\bheard of\b": "name what was received",
    r"\bsees? to\b": "check, take care of",
    r"\breckon(s|ed|ing)?\b": "compute, count",
    r"\bmend(s|ed|ing)?\b": "correct",
    r"\b(thence|whereof)\b": "from there, of which",
    r"\bso long as\b": "while, if",
    r"\bcomplete or absent\b": "atomic writing",
}


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


def riddles(path: Path) -> list[str]:
    """Line and phrase of every riddle in the docstrings, messages and help texts of a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        # Docstrings and parts of f-strings are constants too. A word without a blank is a key.
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = " ".join(node.value.split())
            if " " in text:
                hits = (re.search(phrase, text) for phrase in RIDDLES)
                found += [
                    f"{os.path.relpath(path, ROOT)}:{node.lineno}: {hit[0]!r} in "
                    f"{text[max(0, hit.start() - 30) : hit.end() + 30]!r}"
                    for hit in hits
                    if hit
                ]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_argument_is_described(room):
    found = {
        str(path.relative_to(ROOT)): missing(path)
        for path in sorted((PACKAGE / room).rglob("*.py"))
    }
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("room", [*ROOMS, "tools"])
def test_words_are_plain(room):
    folder = ROOT / room if room == "tools" else PACKAGE / room
    found = [each for path in sorted(folder.rglob("*.py")) for each in riddles(path)]
    assert not found, "\n".join(found)


def test_words_of_modules_outside_rooms_are_plain():
    assert not [each for path in sorted(PACKAGE.glob("*.py")) for each in riddles(path)]


def test_a_missing_argument_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('def f(a, b_px=1):\n    """Does it.\n\n    Args:\n        a: what.\n    """\n')
    assert missing(path) == ["f: b_px"]


def test_a_riddle_is_found_in_docstrings_and_messages(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        'def f(a):\n    """Boxes from `score_thr` on\n    are told."""\n'
        '    raise ValueError(f"{a}: mend the file, or leave it as it is")\n'
        '    return {"anew": "told apart, as it is read"}\n'
    )
    lines = [each.split(": ")[0].rpartition(":")[2] for each in riddles(path)]
    assert lines == ["2", "2", "4", "4"]
