"""What a training shows on the screen, and what only its log file holds."""

from __future__ import annotations

import logging

from etram_mmdet.engine.runner.console import Console
from tests.helpers.cli import CONFIG, SMALL, run


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("mmengine", level, "file.py", 1, message, (), None)


def _without_start_method(lines: list[str]) -> list[str]:
    """mmengine prints two lines about the way in which the processes of the tests are started.

    A person starts them in another way.
    """
    is_of_tests = bool(lines) and "start method" in lines[0]
    return lines[2:] if is_of_tests else lines


def test_before_it_is_opened_only_warnings_are_shown():
    console = Console()
    assert not console.filter(record(logging.INFO, "Config:"))
    assert console.filter(record(logging.WARNING, "skipped a damaged checkpoint: iter_4.pth"))
    console.is_open = True
    assert console.filter(record(logging.INFO, "Iter(train) [1/4]"))


def test_warnings_that_nobody_can_act_on_are_never_shown():
    console = Console()
    console.is_open = True
    for text in (
        "The prefix is not set in metric class EventCocoMetric.",
        "neck.conv.weight is skipped since its requires_grad=False",
    ):
        assert not console.filter(record(logging.WARNING, text))


def test_a_training_begins_with_its_summary(sample, tmp_path):
    options = [
        f"data_root={sample}/",
        *SMALL,
        "default_hooks.logger.interval=1",
        "train_cfg.max_iters=2",
    ]
    lines = run(
        "tools/train.py", CONFIG, "--work-dir", tmp_path, "--cfg-options", *options
    ).splitlines()
    lines = _without_start_method(lines)
    assert lines[1].startswith("config      ") and any("Iter(train)" in line for line in lines)
    (log,) = tmp_path.glob("2*/*.log")
    logged = log.read_text()
    for noise in ("System environment", "Hooks will be executed", "prefix is not set"):
        assert noise in logged and not any(noise in line for line in lines)
    said = [
        line for line in lines if "OneDL" in line or "meshgrid" in line or "UserWarning" in line
    ]
    assert not said


def test_an_error_before_the_first_step_stands_alone(tmp_path):
    options = ["--work-dir", tmp_path, "--cfg-options", "data_root=no_such_folder/"]
    (line,) = _without_start_method(run("tools/train.py", CONFIG, *options, ok=False).splitlines())
    assert line.startswith("error: no_such_folder")
