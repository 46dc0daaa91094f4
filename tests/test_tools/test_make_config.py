"""tools/make_config.py: from a folder of recordings to a training that runs."""

from __future__ import annotations

import shlex

from mmengine.config import Config

from tests.helpers.cli import run

TOOL = "tools/make_config.py"


def test_its_commands_lead_to_a_training(raw_sample, tmp_path):
    config = tmp_path / "own.py"
    frames = tmp_path / "frames"
    words = ("--out", config, "--data-root", frames, "--classes", "0=walker", "1=car", "5=car")
    printed = run(TOOL, raw_sample, *words)
    assert "sensor: 96x64 pixels, as files or --sensor say" in printed and "left out: 2 " in printed
    assert Config.fromfile(config).class_set.classes == ("walker", "car")
    commands = [shlex.split(line)[1:] for line in printed.partition("next:\n")[2].splitlines()]
    tools = [words[0].removeprefix("tools/").removesuffix(".py") for words in commands]
    assert tools == ["preprocess", "train", "train", "test", "detect"]
    assert commands[4][2].startswith(str(raw_sample / "test"))
    assert "7 recordings preprocessed, 0 were finished before, 0 problems" in run(*commands[0], "--workers", 0)
    small = ("train_dataloader.num_workers=0", "val_dataloader.num_workers=0", "model.backbone.partition_size=(1,3)")
    trained = run(*commands[1], "--cfg-options", *small)
    assert "Nothing was kept" in trained and "walker" in trained
    assert f"{config}: exists; name another config with --out" in run(TOOL, raw_sample, *words, ok=False)
