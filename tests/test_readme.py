"""Every command of the README is run, reduced in size; its plugin is built and trained."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.test_tools.cli import SMALL

README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines() if line]
# What makes a command of the README small: options appended to the tool's own.
TRAIN = [*SMALL[:4], "train_dataloader.num_workers=0", "val_dataloader.num_workers=0", *SMALL[5:]]
REDUCED = {
    "tools/make_sample.py": "--width 96 --height 64 --seconds 1.5 --recordings 2 2 2",
    "tools/train.py": f"--cfg-options {' '.join(map(repr, [*TRAIN, 'val_dataloader.persistent_workers=False']))}",
    "tools/dist_train.sh": f"--cfg-options {' '.join(map(repr, [*TRAIN, 'val_dataloader.persistent_workers=False']))}",
}
for word in ("train", "val"):  # workers cannot persist where there are none
    for tool in ("tools/train.py", "tools/dist_train.sh"):
        if f"{word}_dataloader.persistent_workers=False" not in REDUCED[tool]:
            REDUCED[tool] += f" {word}_dataloader.persistent_workers=False"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder that looks like a clone and keeps what the commands write out of this one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "tools", "Makefile", "etram_mmdet"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def shell(command: str, folder) -> str:
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout + done.stderr


def prepare(command: str, folder) -> None:
    """What the README asks its reader to have: own recordings, a released checkpoint."""
    if "data/my_raw" in command and not (folder / "data" / "my_raw").exists():
        (folder / "data" / "my_raw").symlink_to(folder / "data" / "etram_raw")
    if "rvt-t.ckpt" in command:
        import torch
        from mmdet.registry import MODELS

        from etram_mmdet.engine.config import load_config
        from etram_mmdet.engine.rvt_weights import to_rvt

        cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"model.bbox_head.num_classes": 3})
        weights = {f"mdl.{name}": tensor for name, tensor in to_rvt(MODELS.build(cfg.model).state_dict()).items()}
        torch.save(dict(state_dict=weights), folder / "rvt-t.ckpt")


def reduced(command: str) -> str:
    tool = next((word for word in command.split() if word.startswith("tools/")), "")
    options = REDUCED.get(tool, "")
    if "--cfg-options" in command:
        options = options.removeprefix("--cfg-options")
    return f"{command} {options}"


def test_there_are_commands():
    assert len(COMMANDS) >= 12 and COMMANDS[:2] == ["make demo", "make test"]


def test_workflow(checkout):
    """From top to bottom, as a reader would."""
    for command in COMMANDS:
        if command.startswith("make "):
            target = command.split()[1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
            continue
        prepare(command, checkout)
        shell(reduced(command), checkout)
    assert (checkout / "predictions.json").is_file() and (checkout / "rvt-t.pth").is_file()
    assert (checkout / "data" / "my_data" / "train").is_dir()


def test_plugin(sample, tmp_path):
    plugin, config = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "my_plugins").mkdir()
    (tmp_path / "my_plugins" / "__init__.py").write_text(plugin)
    (tmp_path / "tall.py").write_text(config.replace("./baseline.py", str(ROOT / "configs" / "baseline.py")))
    options = " ".join(map(repr, [f"data_root={sample}/", "model.backbone.embed_dims=32", *SMALL]))
    command = f"python {ROOT}/tools/train.py tall.py --work-dir run --cfg-options {options}"
    output = shell(f"PYTHONPATH=. {command}", tmp_path)
    assert "factor=3.0" in output and "TallIoULoss" in output
    assert (tmp_path / "run" / "iter_4.pth").is_file()


def test_config_table_lists_every_config():
    listed = set(re.findall(r"`(\w+\.py)`", README.split("## Configs")[1].split("## Your own plugin")[0]))
    assert listed == {p.name for p in (ROOT / "configs").glob("*.py")}
