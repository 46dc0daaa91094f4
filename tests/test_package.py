"""The package as it is handed on: one version, one license, every config and tool in the wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml

import etram_mmdet
from etram_mmdet.utils.environment import find_config
from tests.helpers.cli import run
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names in the wheel, and its metadata."""
    folder = tmp_path_factory.mktemp("wheel")
    kept = shutil.ignore_patterns(
        ".venv", ".git", "build", "data", "work_dirs", "__pycache__", "*.egg-info", "tests"
    )
    shutil.copytree(ROOT, folder / "source", ignore=kept)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ".",
    ]
    subprocess.run(command, cwd=folder / "source", check=True, timeout=300)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    return set(names), metadata


def test_the_wheel_holds_configs_tools_and_license(wheel):
    names, metadata = wheel
    wanted = [
        *(ROOT / "configs").rglob("*.py"),
        *(ROOT / "tools").glob("*.*"),
        ROOT / "model-index.yml",
    ]
    assert {f"etram_mmdet/.mim/{path.relative_to(ROOT)}" for path in wanted} <= names
    assert {"etram_mmdet/py.typed", "etram_mmdet/weights/demo.pth"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests") or "__pycache__" in name for name in names)
    assert (
        "License" in metadata
        and "Apache-2.0" in metadata
        and "Author: The etram_mmdet authors" in metadata
    )


def test_torch_and_mmdet_are_an_extra(wheel):
    """So that the wheel can be installed where only recordings are read."""
    _, metadata = wheel
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    heavy = [line for line in required if re.search(r"torch|onedl", line)]
    assert len(heavy) == 4 and all('extra == "mmdet"' in line for line in heavy)
    assert any("h5py" in line and "extra" not in line for line in required)


def test_there_is_one_version(wheel):
    _, metadata = wheel
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert f"\nVersion: {etram_mmdet.__version__}\n" in metadata
    assert citation["version"] == newest == etram_mmdet.__version__


def test_the_license_is_apache():
    text = (ROOT / "LICENSE").read_text()
    assert (
        "Apache License" in text
        and "Copyright 2026 The etram_mmdet authors" in text
        and "[yyyy]" not in text
    )
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"


def test_the_model_index_lists_every_config():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    listed = [model["Config"] for model in index["Models"]]
    assert sorted(listed) == sorted(
        f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py")
    )
    assert {model["In Collection"] for model in index["Models"]} == {
        each["Name"] for each in index["Collections"]
    }


def test_tools_run_by_name(tmp_path):
    listed = run("-m", "etram_mmdet")
    assert (
        all(path.stem in listed for path in (ROOT / "tools").glob("*.py"))
        and str(ROOT / "configs") in listed
    )
    assert "--recordings" in run("-m", "etram_mmdet", "make_sample", "--help")
    assert "no tool 'tarin'; did you mean train?" in run("-m", "etram_mmdet", "tarin", ok=False)


def test_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/baseline.py") == ROOT / "configs" / "baseline.py"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "baseline.py").touch()
    assert not find_config("configs/baseline.py").is_absolute()  # one's own comes first
    assert str(find_config("configs/none.py")) == "configs/none.py"
