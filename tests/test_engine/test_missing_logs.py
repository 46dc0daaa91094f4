"""A log, a picture or numbers for a backend that cannot be written cost one line, not the run."""

from __future__ import annotations

import errno
import logging
import resource
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.engine.hooks import DetVisualizationHook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from etram_mmdet.engine.hooks.event_visualization import EventVisualizationHook, check_pictures
from etram_mmdet.engine.runner.stream_runner import StreamRunner
from etram_mmdet.utils.errors import InputError
from etram_mmdet.visualization import event_visualizer
from etram_mmdet.visualization.event_visualizer import EventVisualizer


def test_a_full_log_is_one_line_however_much_is_logged(monkeypatch, capsys):
    logger = MMLogger("full_log")
    logger.addHandler(logging.FileHandler("/dev/full"))
    monkeypatch.setattr(Runner, "build_logger", lambda self: logger)
    found = StreamRunner.build_logger(object.__new__(StreamRunner))
    for number in range(5):
        found.info(f"line {number}")
    said = capsys.readouterr().err
    assert said.count("WARNING /dev/full: the run goes on without this log: the disk is full") == 1
    assert "Traceback" not in said


def test_numbers_for_a_backend_that_vanished_are_one_warning(tmp_path, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(
        "etram_mmdet.visualization.event_visualizer.print_log",
        lambda text, *args: warnings.append(text),
    )
    folder = tmp_path / "work"
    visualizer = EventVisualizer(
        "vanished", vis_backends=[dict(type="LocalVisBackend")], save_dir=str(folder)
    )
    visualizer.add_scalars(dict(loss=1.0), step=1)
    assert list(folder.rglob("scalars.json")) and not warnings
    shutil.rmtree(folder)
    for step in range(2, 5):
        visualizer.add_scalars(dict(loss=1.0), step=step)
    (said,) = warnings
    assert said.startswith(
        f"{folder}: numbers and pictures are missing: it or its folder does not exist"
    )


def test_a_picture_that_did_not_fit_is_one_warning(tmp_path, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(event_visualizer, "print_log", lambda text, *args: warnings.append(text))
    visualizer = EventVisualizer(
        "cut", vis_backends=[dict(type="LocalVisBackend")], save_dir=str(tmp_path)
    )
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    visualizer.add_image("val_img", noise, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        visualizer.add_image("val_img", noise, 2)
        visualizer.add_image("val_img", noise, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (said,) = warnings
    assert "numbers and pictures are missing: the file would be larger than the limit here" in said
    assert [path.name for path in tmp_path.rglob("*.png")] == ["val_img_1.png"]


def drawing(
    monkeypatch, error: Exception
) -> tuple[EventVisualizationHook, SimpleNamespace, list[str]]:
    """A hook whose pictures end in ``error``, and what its runner is warned of."""
    EventVisualizer.get_instance("missing_logs")
    drawn: list[int] = []

    def draw(self, runner, batch_idx, data_batch, outputs):
        if self.draw:
            drawn.append(batch_idx)
            raise error

    monkeypatch.setattr(DetVisualizationHook, "after_test_iter", draw)
    hook = EventVisualizationHook(draw=True, interval=1)
    runner = SimpleNamespace(hooks=[hook], logger=SimpleNamespace(warning=lambda text: None))
    return hook, runner, drawn


def test_an_evaluation_goes_on_without_its_pictures(monkeypatch):
    hook, runner, drawn = drawing(
        monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/tmp/show/a.png")
    )
    check_pictures(runner)
    for number in range(3):
        hook.after_test_iter(runner, number, {}, [])
    assert drawn == [0]
    with pytest.raises(
        InputError, match=r"pictures are missing: /tmp/show/a\.png: the disk is full"
    ):
        check_pictures(runner)


def test_a_fault_in_drawing_stays_one(monkeypatch):
    hook, runner, _ = drawing(monkeypatch, ValueError("a fault"))
    with pytest.raises(ValueError, match="a fault"):
        hook.after_test_iter(runner, 0, {}, [])
