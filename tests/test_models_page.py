"""docs/models.md and docs/python.md are right.

The table agrees with model-index.yml and the files, and the commands run.
"""

from __future__ import annotations

import os
import re
import shlex

import yaml

from etram_mmdet.engine.checkpoints.folder import PACKAGED
from etram_mmdet.engine.checkpoints.release import digest
from tests.helpers.paths import ROOT, THREADS
from tests.helpers.tool_process import run_tool

PAGE = (ROOT / "docs" / "models.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+)\.py` \|(.*)\|$", PAGE, re.M)
(COMMANDS,) = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
WITH_WEIGHTS = {
    model["Name"]: model
    for model in yaml.safe_load((ROOT / "model-index.yml").read_text())["Models"]
    if "Weights" in model or "Converted From" in model
}


def test_the_table_is_that_of_the_model_index():
    assert {name for name, _ in ROWS} == set(WITH_WEIGHTS) and len(ROWS) == 7
    for name, row in ROWS:
        model = WITH_WEIGHTS[name]
        file, told, _, ap, _ = map(str.strip, row.split("|"))
        assert float(ap.split()[0]) == model["Results"][0]["Metrics"]["box AP"]
        method = "SHA-256" if "Weights" in model else "MD5"
        assert told == f"{method} `{model['Metadata'][method]}`"
        assert "Weights" in model or f"({model['Converted From']['Weights']})" in file


def test_the_packaged_file_is_the_one_of_the_table():
    (shipped,) = PACKAGED.iterdir()
    model = WITH_WEIGHTS["patch2_sizeaware_demo"]
    assert ROOT / model["Weights"] == shipped and digest(shipped) == model["Metadata"]["SHA-256"]


def test_the_commands_and_the_example_run(tmp_path):
    """A newcomer's way: a street, the detector of the package, a film, and the boxes in Python."""
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "results.py").write_text(
        _without_optional_packages(EXAMPLE) + "print(picture.shape)\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": THREADS}
    commands = [shlex.split(command)[1:] for command in COMMANDS.splitlines()]
    commands[0] = [word.replace("192", "96").replace("128", "64") for word in commands[0]]
    for words in [*commands, ["results.py"]]:
        output = tmp_path / "output"
        assert run_tool(words, env, output, 300, tmp_path) == 0, (
            f"{words}\n{output.read_text()[-3000:]}"
        )
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert "(64, 96, 3)" in output.read_text()


def _without_optional_packages(code: str) -> str:
    """Replace pandas and supervision if they are not installed.

    The lines of the example then run unchanged.
    """
    return (
        "import sys\nfrom unittest.mock import MagicMock\n"
        "for name in ('pandas', 'supervision'):\n"
        "    try:\n        __import__(name)\n"
        "    except ImportError:\n        sys.modules[name] = MagicMock()\n" + code
    )
