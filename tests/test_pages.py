"""Pages and docstrings name files and modules that exist."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.helpers.paths import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SOURCES = [*(ROOT / "etram_mmdet").rglob("*.py"), *(ROOT / "tests/proofs").glob("*.py")]
FILE = re.compile(r"(?<![\w/.])(?:etram_mmdet|tests|tools)(?:/\w+)*(?:/|\.py|\.sh|\.md)(?![\w*{])")
NAME = re.compile(r"(?<![\w/.-])etram_mmdet(?:\.[A-Za-z]\w*)+(?!\w*[*/])")


@cache
def is_known(name: str) -> bool:
    """Whether a dotted name is a module, or a word of the module that its beginning names."""
    *folders, last = name.split(".")
    path = ROOT.joinpath(*folders)
    if (path / last).is_dir() or (path / f"{last}.py").is_file():
        return True
    module = next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)
    if module is None:
        return len(folders) > 1 and is_known(".".join(folders))
    return re.search(rf"\b{last}\b", module.read_text()) is not None


def unknown(text: str) -> list[str]:
    files = [file for file in FILE.findall(text) if not (ROOT / file).exists()]
    return files + [name for name in NAME.findall(text) if not is_known(name)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_exists(path):
    assert not unknown(path.read_text())


def test_what_docstrings_and_comments_name_exists():
    wrong = {str(path): unknown(path.read_text()) for path in SOURCES}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize(
    "text", ["`etram_mmdet/engine/lost.py`", "tests/lost/", "etram_mmdet.engine.lost.Name"]
)
def test_a_lost_file_or_module_is_found(text):
    assert unknown(text)
    assert not unknown("`etram_mmdet/engine/`, etram_mmdet.evaluation.results.Boxes.replaced")
