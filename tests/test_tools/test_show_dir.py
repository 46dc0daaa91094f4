"""tools/test.py --show-dir, --show and --tta."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import cv2
import pytest
from matplotlib import pyplot
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.visualization import Visualizer

from etram_mmdet.engine.config.test_options import draw_detections, mirror_streams, tta_of
from etram_mmdet.engine.hooks.event_visualization import EventVisualizationHook
from etram_mmdet.engine.hooks.run_record import measured_with
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import run


def rows(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def measured(row):
    return {key: value for key, value in row.items() if key.startswith("coco/")}


def test_pictures_and_films_of_every_recording(trained, sample, tmp_path):
    show, work = tmp_path / "show", tmp_path / "work"
    options = [
        "--work-dir",
        work,
        "--show-dir",
        show,
        "--show-every",
        "8",
        "--show-films",
        "--out",
        work / "all.json",
    ]
    run("tools/test.py", trained[0] / "iter_4.pth", *options)
    frames = json.loads((work / "all.json").read_text())["frames"]
    expected = set()
    for name in {frame["recording"] for frame in frames}:
        times = [frame["t_us"] for frame in frames if frame["recording"] == name]
        expected |= {f"{name}_{t:010d}us.png" for t in times[::8]} | {f"{name}.mp4"}
        film = cv2.VideoCapture(str(show / f"{name}.mp4"))
        assert film.get(cv2.CAP_PROP_FRAME_COUNT) == len(times)
    assert {path.name for path in show.iterdir()} == expected and len(expected) > 6
    assert all(cv2.imread(str(path)).shape[1] == 960 for path in show.glob("*.png"))
    assert measured(rows(work)[0]) == measured(rows(trained[0])[-1])  # drawing changes nothing


def test_tta_is_measured_by_the_same_metric_and_told_apart(trained, tmp_path):
    output = run("tools/test.py", trained[0] / "iter_4.pth", "--work-dir", tmp_path, "--tta")
    (row,), plain = rows(tmp_path), rows(trained[0])[-1]
    assert json.loads(row["test_cfg"]) == json.loads(plain["test_cfg"]) | dict(
        tta=dict(type="StreamTTAModel")
    )
    assert row["coco/frames"] == plain["coco/frames"] and row["coco/boxes"] == plain["coco/boxes"]
    assert measured(row).keys() >= {"coco/AP", "coco/AR100"} and measured(row) != measured(plain)
    assert "tested_val_tta_4.png" in output and (tmp_path / "tested_val_tta_4.json").is_file()


def config(**keys):
    defaults = dict(default_hooks=dict(), visualizer=dict(type="Visualizer", vis_backends=[]))
    return Config({**defaults, "model": dict(test_cfg=dict(score_thr=0.1)), **keys})


def test_draws_with_what_the_config_says(tmp_path):
    cfg = config(default_hooks=dict(visualization=dict(type="DetVisualizationHook", score_thr=0.6)))
    draw_detections(cfg, tmp_path / "a" / "b", interval=7, films=True)
    hook = cfg.default_hooks.visualization
    assert hook.test_out_dir == str(tmp_path / "a" / "b") and (tmp_path / "a" / "b").is_dir()
    assert (hook.type, hook.score_thr, hook.interval, hook.films) == (
        "EventVisualizationHook",
        0.6,
        7,
        True,
    )
    assert hook.draw and not hook.show
    assert cfg.visualizer.type == "EventVisualizer"


def test_a_visualizer_of_ones_own_stays(tmp_path):
    cfg = config(visualizer=dict(type="DetLocalVisualizer"))
    draw_detections(cfg, tmp_path)
    assert cfg.visualizer.type == "DetLocalVisualizer"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"--show-dir .*file: the folder cannot be made \(File exists\)"
    ):
        draw_detections(config(), tmp_path / "file")


def test_windows_need_a_display(monkeypatch):
    monkeypatch.setattr(pyplot, "get_backend", lambda: "agg")
    with pytest.raises(InputError, match=r"no display here.*--show-dir DIR"):
        draw_detections(config(), show=True)
    monkeypatch.setattr(pyplot, "get_backend", lambda: "TkAgg")
    cfg = config()
    draw_detections(cfg, show=True, wait_time=0.5)
    assert cfg.default_hooks.visualization.show and cfg.default_hooks.visualization.wait_time == 0.5


def test_tta_of_the_config_is_taken():
    cfg = config(
        tta_model=dict(type="StreamTTAModel", tta_cfg=dict(max_per_img=9)),
        custom_hooks=[dict(type="X")],
    )
    assert tta_of(cfg) is None and "tta" not in measured_with(cfg)
    mirror_streams(cfg)
    assert [hook.type for hook in cfg.custom_hooks] == ["X", "PrepareTTAHook"]
    assert (
        tta_of(cfg)
        == measured_with(cfg)["tta"]
        == dict(type="StreamTTAModel", tta_cfg=dict(max_per_img=9))
    )


@pytest.mark.parametrize(
    "keys", [dict(tta_model=dict(type="DetTTAModel")), dict(tta_pipeline=[dict(type="X")])]
)
def test_views_of_single_images_are_refused(keys):
    with pytest.raises(InputError, match=r"--tta: .*tta_model.type=StreamTTAModel"):
        mirror_streams(config(**keys))


class Drawn:
    """Stands in for a visualizer."""

    def __init__(self):
        self.calls = []

    def add_datasample(self, name, image, **kwargs):
        self.calls.append((kwargs["data_sample"].t_us, kwargs["out_file"]))


def test_the_hook_counts_frames_of_each_recording(monkeypatch, tmp_path):
    drawn = Drawn()
    monkeypatch.setattr(Visualizer, "get_current_instance", lambda: drawn)
    monkeypatch.setattr("mmdet.engine.hooks.visualization_hook.get", lambda path, **kwargs: b"")
    monkeypatch.setattr("mmcv.imfrombytes", lambda *args, **kwargs: None)
    hook = EventVisualizationHook(draw=True, interval=3, test_out_dir="pictures")
    runner = SimpleNamespace(work_dir="work", timestamp="now")
    hook.before_test(runner)
    monkeypatch.chdir(tmp_path.parent)
    for t in range(
        0, 10, 2
    ):  # batches of two frames of each recording, and one that stands for none
        metas = [
            dict(recording=name, t_us=100 * k + t + i)
            for k, name in enumerate("ab")
            for i in range(2)
        ]
        frames = [
            DetDataSample(metainfo=dict(meta, img_path=f"events://x/{meta['t_us']}.png"))
            for meta in metas
        ]
        frames.append(
            DetDataSample(metainfo=dict(recording="a", t_us=-1, is_labelled=False, img_path=""))
        )
        hook.after_test_iter(runner, t, {}, frames)
    assert [t for t, _ in drawn.calls] == [0, 100, 3, 103, 6, 106, 9, 109]
    folders = {path.rpartition("/")[0] for _, path in drawn.calls}
    assert len(folders) == 1 and next(iter(folders)).endswith("/work/now/pictures")
