"""Run every command of README and of the teaching pages, as the text has it, in a small size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.events.class_sets import ETRAM8
from tests.helpers.cli import SMALL
from tests.helpers.paths import ROOT, THREADS
from tests.helpers.tool_process import run_ranks, run_tool

README = (ROOT / "README.md").read_text()
# In an order in which each finds what it needs.
PAGES = (
    "docs/training.md",
    "docs/checkpoints.md",
    "docs/evaluation.md",
    "docs/thresholds.md",
    "docs/detect.md",
    "docs/deploy.md",
    "docs/live.md",
    "README.md",
)
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}
COMMANDS = [
    line
    for text in TEXTS.values()
    for block in re.findall(r"```bash\n(.*?)```", text, re.S)
    for line in block.splitlines()
    if line
]
(FOLLOW,) = re.findall(r"```python\n(.*?)```", TEXTS["docs/detect.md"], re.S)
# What makes a command small: options appended to the tool's own.
TINY = (
    *SMALL,
    "train_cfg.max_iters=2",
    "val_dataloader.num_workers=1",
    "model.backbone.embed_dims=16",
    "model.backbone.head_dim=16",
    "model.neck.num_csp_blocks=1",
)
TRAIN = f"--cfg-options {' '.join(map(repr, TINY))}"
REDUCED = {
    "tools/make_sample.py": "--width 96 --height 64 --seconds 1.5 --recordings 2 2 2",
    "tools/train.py": TRAIN,
    "tools/dist_train.sh": TRAIN,
    "tools/gpu_check.py": "--device cpu --small --parts memory",
    "tools/benchmark_engines.py": "--windows 2 --no-start",
    "tools/ablate.py": "--runs baseline --seeds 0 --samples 6",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder that looks like a clone and keeps what the commands write out of this one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("tools", "Makefile", "etram_mmdet"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    return folder


def table(folder, pattern: str) -> str:
    """Text of the file that fits the pattern, without the spaces that align its columns."""
    return re.sub(" +", " ", next(folder.glob(pattern)).read_text())


def shell(command: str, folder) -> str:
    """Output of a command. A plain tool is forked from a process that has done its imports."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": THREADS}
    if command.startswith("python tools/") and "||" not in command:
        return tool(command.removeprefix("python "), folder, env)
    if command.startswith("tools/dist_"):
        return ranks(command, folder, env)
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout + done.stderr


def words_of(command: str, folder, env: dict[str, str]) -> list[str]:
    """What a shell command writes, split at NUL bytes."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, stdout=subprocess.PIPE)
    assert done.returncode == 0, command
    return done.stdout.decode().split("\0")[:-1]


def tool(command: str, folder, env: dict[str, str]) -> str:
    words = words_of(f"printf '%s\\0' {command}", folder, env)
    output = folder / "output.txt"
    status = run_tool(words, env, output, 600, folder)
    assert status == 0, f"{command}\n{output.read_text()[-3000:]}"
    return output.read_text()


def ranks(command: str, folder, env: dict[str, str]) -> str:
    """Fork the processes that ``torchrun`` would start; test_train_and_test.py starts it itself."""
    stub = folder / "bin" / "torchrun"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    stub.chmod(0o755)
    called = words_of(command, folder, {**env, "PATH": f"{stub.parent}:{env['PATH']}"})
    assert called[0] == "--standalone"
    processes = int(called[1].removeprefix("--nproc_per_node="))
    output = folder / "output.txt"
    status = run_ranks(processes, called[2:], env, output, 600, folder)
    assert status == 0, f"{command}\n{output.read_text()[-3000:]}"
    return output.read_text()


def prepare(command: str, folder) -> None:
    """Make what README expects of its reader.

    That is the demo's data, recordings of one's own, and a released checkpoint.
    """
    if "tools/ablate.py" in command:
        (folder / "data" / "demo").symlink_to(folder / "data" / "etram_cls8_sample")
    if "data/my_raw" in command and not (folder / "data" / "my_raw").exists():
        (folder / "data" / "my_raw").symlink_to(folder / "data" / "etram_raw")
    if "rvt-t.ckpt" in command:
        import torch
        from mmdet.registry import MODELS

        from etram_mmdet.engine.checkpoints.rvt_weights import to_rvt

        cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"class_set": "etram3"})
        weights = {
            f"mdl.{name}": tensor
            for name, tensor in to_rvt(MODELS.build(cfg.model).state_dict()).items()
        }
        torch.save(dict(state_dict=weights), folder / "rvt-t.ckpt")


def reduced(command: str) -> str:
    tool = next((word for word in command.split() if word.startswith("tools/")), "")
    options = REDUCED.get(tool, "")
    if "tools/test.py configs/" in command:  # the config must describe the model that was trained
        options = f"--cfg-options {' '.join(map(repr, TINY))}"
    if "--cfg-options" in command:
        options = options.removeprefix("--cfg-options")
    return f"{command} {options}"


def test_there_are_commands():
    assert len(COMMANDS) >= 25 and {"make demo", "make test"} <= set(COMMANDS)


def test_workflow(checkout):
    """From top to bottom, as a reader would."""
    for command in COMMANDS:
        if command.startswith("make "):
            target = command.split()[1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
            continue
        prepare(command, checkout)
        shell(reduced(command), checkout)
    for name in (
        "film.mp4",
        "detections.csv",
        "work_dirs/operating_points.py",
        "work_dirs/compare/compare.md",
    ):
        assert (checkout / name).is_file()
    for name in ("for_alarms.py", "for_a_film.py", "film.mp4"):
        assert (checkout / "work_dirs" / name).is_file()
    assert (checkout / "predictions.json").is_file() and (checkout / "rvt-t.pth").is_file()
    assert (checkout / "work_dirs/patch2_sizeaware/browse_train.png").is_file() and (
        checkout / "browse.mp4"
    ).is_file()
    assert (checkout / "data" / "my_raw_frames" / "train").is_dir()
    assert "| memory | passed |" in table(checkout, "work_dirs/gpu_check/*/report.md")
    view = table(checkout, "work_dirs/ablations/*_6_samples/view.md")
    assert "| baseline | 6 | 1 | 6 |" in view


def test_inferencer(checkout):
    code = FOLLOW.replace("iter_100000.pth", "iter_2.pth").replace("score_thr=0.3", "score_thr=0.0")
    code = code.replace("recording.raw", "data/etram_raw/val/val_day_0000_td.h5")
    (checkout / "follow.py").write_text(code)
    lines = shell("PYTHONPATH=. python follow.py", checkout).splitlines()
    assert (
        sum(bool(re.match(r"\d+ \[", line)) for line in lines) >= 25
    )  # 1.5 seconds, 20 windows a second


def test_configs_of_the_page_about_thresholds(checkout):
    """They take the files that the commands wrote."""
    blocks = re.findall(r"```python\n(.*?)```", TEXTS["docs/thresholds.md"], re.S)
    models = []
    for block in blocks:
        (checkout / "configs" / "child.py").write_text(block)
        models.append(load_config(checkout / "configs" / "child.py").model)
    points, sizes = models
    assert set(points.test_cfg.operating_points.score_thr) == set(ETRAM8)
    assert sizes.bbox_head.loss_bbox.type == "SizeAwareIoULoss"
    assert sizes.bbox_head.loss_bbox.small_area != 32**2


def test_linked_files_exist():
    assert all((ROOT / path).is_file() for path in re.findall(r"\]\(((?!http)[^)#]+)", README))


def test_config_table_lists_every_config():
    listed = set(re.findall(r"`(\w+\.py)`", (ROOT / "docs" / "configs.md").read_text()))
    assert listed == {p.name for p in (ROOT / "configs").glob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", README.split("## Configs")[1])) <= listed
