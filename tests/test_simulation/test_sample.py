"""Simulated traffic: physics of the sensor, right boxes, and the same sample every time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filter the recordings are compressed with
import numpy as np
import pytest

from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.simulation import event_sensor as sensor_module
from etram_mmdet.simulation.event_sensor import DARK_LUMINANCE, EventSensor
from etram_mmdet.simulation.rasterizer import Camera, paint
from etram_mmdet.simulation.rendering import concatenate, film, label
from etram_mmdet.simulation.sample import make_sample, simulate_recording
from etram_mmdet.simulation.scene import Scene, build_scene
from etram_mmdet.simulation.traffic import (
    STEP_S,
    Actor,
    RedLight,
    Route,
    drive,
    make_actor,
    num_steps,
)
from etram_mmdet.utils.errors import InputError

WIDTH, HEIGHT = 144, 96
SMALL = dict(width=WIDTH, height=HEIGHT, recordings=(2, 2, 2), duration_s=2.0, workers=1)
TINY = dict(width=96, height=64, recordings=(1, 1, 0), duration_s=0.3)


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    make_sample(out, seed=3, **SMALL)
    return out


def boxes_of(sample: Path, split: str) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted((sample / split).glob("*_bbox.npy"))])


def hashes(out: Path) -> dict[str, str]:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def street_of(seed: int, night: bool = False) -> Scene:
    """A level view of an empty street."""
    scene = build_scene(WIDTH, HEIGHT, 1.0, night, (), np.random.default_rng(seed))
    return Scene(scene.camera, scene.background, [], night, scene.street)


def with_actors(scene: Scene, *actors: Actor) -> Scene:
    return Scene(scene.camera, scene.background, list(actors), scene.night, scene.street)


def moving(name: str, x_m: float, y_m: float, speed_m_s: np.ndarray, seed: int = 0) -> Actor:
    """One road user, without its shadow, that drives from the left to the right."""
    travel = np.concatenate([[0.0], np.cumsum(speed_m_s[:-1]) * STEP_S])
    actor = make_actor(
        name, Route(x_m, y_m, 0.0), travel, speed_m_s, False, np.random.default_rng(seed)
    )
    actor.body.opacity[actor.body.opacity < 1] = 0
    return actor


def constant(speed_m_s: float, duration_s: float = 2.0) -> np.ndarray:
    return np.full(num_steps(duration_s), float(speed_m_s))


def events_of(scene: Scene, duration_s: float = 2.0):
    return concatenate(list(film(scene, duration_s, np.random.default_rng(0))))


@pytest.fixture
def quiet(monkeypatch):
    """No background activity, and hot pixels that keep silent."""
    monkeypatch.setattr(sensor_module, "NOISE_HZ", {"day": 0.0, "night": 0.0})
    monkeypatch.setattr(sensor_module, "HOT_HZ", (0.0, 0.0))


def test_contrast_step_gives_the_hand_computed_events():
    before = np.full((4, 5), 50.0, np.float32)
    sensor = EventSensor(before, False, np.random.default_rng(0))
    sensor.on[:], sensor.off[:] = 0.25, 0.4
    after = (before + DARK_LUMINANCE) * np.exp(1.1) - DARK_LUMINANCE
    up = sensor.step(after.astype(np.float32), 1000, 2100)
    down = sensor.step(before, 2100, 3200)
    # 1.1 / 0.25 = 4.4 crossings up, the last at +1.0; from there 1.0 / 0.4 = 2.5 crossings down.
    assert len(up.t) == 4 * before.size and np.all(up.p == 1)
    assert len(down.t) == 2 * before.size and np.all(down.p == 0)
    assert set(np.round((np.unique(up.t) - 1000) / 250).astype(int)) == {1, 2, 3, 4}
    assert np.all(np.isin((up.t - 1000) % 250, (0, 249)))
    assert len(np.unique(up.y.astype(int) * 5 + up.x)) == before.size


def test_thresholds_differ_from_pixel_to_pixel():
    sensor = EventSensor(np.full((60, 80), 50.0, np.float32), False, np.random.default_rng(0))
    for threshold in (sensor.on, sensor.off):
        assert threshold.mean() == pytest.approx(sensor_module.THRESHOLD, rel=0.01)
        assert threshold.std() / threshold.mean() == pytest.approx(
            sensor_module.THRESHOLD_SPREAD, rel=0.1
        )


@pytest.mark.parametrize("night", [False, True])
def test_static_scene_gives_noise_only(night, monkeypatch):
    monkeypatch.setattr(sensor_module, "HOT_HZ", (0.0, 0.0))
    events = events_of(street_of(0, night))
    expected = sensor_module.NOISE_HZ["night" if night else "day"] * WIDTH * HEIGHT * 2.0
    assert len(events.t) == pytest.approx(expected, rel=0.1)


def test_hot_pixels_chatter():
    scene = street_of(0)
    events = events_of(scene)
    counts = np.bincount(events.y.astype(int) * WIDTH + events.x, minlength=WIDTH * HEIGHT)
    hot = counts > 0.5 * sensor_module.HOT_HZ[0] * 2.0
    assert 1 <= hot.sum() == max(1, round(sensor_module.HOT_SHARE * WIDTH * HEIGHT))


def test_standing_car_falls_silent(quiet):
    speed = constant(6.0)
    speed[int(1.0 / STEP_S) :] = 0.0
    scene = with_actors(street_of(0), moving("car", -6.0, 18.0, speed))
    events = events_of(scene)
    assert np.sum(events.t < 1_000_000) > 1000
    assert np.sum(events.t > 1_050_000) == 0
    assert label(scene, 2.0)["t"].max() > 1_900_000


def test_boxes_bound_the_events_of_a_lone_car(quiet):
    scene = with_actors(street_of(1), moving("car", -7.0, 17.0, constant(7.0)))
    events, boxes = events_of(scene), label(scene, 2.0)
    assert len(boxes) > 40
    for box in boxes[5:-5:8]:
        recent = (events.t > box["t"] - 10_000) & (events.t <= box["t"])
        x, y = events.x[recent].astype(float), events.y[recent].astype(float)
        inside = (
            (x >= box["x"] - 2)
            & (x < box["x"] + box["w"] + 1)
            & (y >= box["y"] - 1)
            & (y < box["y"] + box["h"] + 1)
        )
        assert inside.mean() > 0.97
        if box["x"] > 2 and box["x"] + box["w"] < WIDTH - 2:
            assert x.max() - x.min() > box["w"] - 4 and y.max() - y.min() > box["h"] - 4


def painted(points_m, radius_m: float) -> np.ndarray:
    """One white part, in metres right of and above the optical axis, 10 m away (10 px/m)."""
    camera = Camera(40, 40, 100.0, 0.0, 0.0).array
    canvas, points = np.zeros((40, 40), np.float32), np.array([(x, 10.0, z) for x, z in points_m])
    paint(
        canvas,
        camera,
        np.array([0.0, 0, 1, 0]),
        points,
        np.array([len(points)]),
        *np.array([[radius_m], [1], [1]]),
    )
    return canvas


def test_parts_cover_their_area_and_backs_are_not_painted():
    square = [(-0.53, -0.45), (0.47, -0.45), (0.47, 0.55), (-0.53, 0.55)]
    assert painted(square, 0.0).sum() == pytest.approx(100.0, rel=0.01)
    rows, columns = np.nonzero(painted(square, 0.0) > 0.05)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (14, 24, 14, 24)
    assert painted(square[::-1], 0.0).sum() == 0
    assert painted([(0.02, 0.03)], 0.5).sum() == pytest.approx(np.pi * 25, rel=0.02)
    assert painted([(-1.0, 0.0), (1.0, 0.0)], 0.01).sum() == pytest.approx(20 * 0.2, rel=0.2)


def test_far_is_small():
    scene = street_of(2)
    heights, depths = [], []
    for y_m in (12.0, 24.0):
        boxes = label(with_actors(scene, moving("pedestrian", -1.0, y_m, constant(1.0, 1.0))), 1.0)
        heights.append(np.median(boxes["h"]))
        depths.append(
            y_m * np.cos(scene.camera.tilt_rad)
            + (scene.camera.mount_m - 0.9) * np.sin(scene.camera.tilt_rad)
        )
    assert heights[0] / heights[1] == pytest.approx(depths[1] / depths[0], rel=0.08)


def test_who_is_hidden_has_no_box():
    walker = moving("pedestrian", 0.0, 14.0, constant(1.0, 1.0))
    bus = moving("bus", 0.0, 12.0, constant(0.0, 1.0))
    classes = label(with_actors(street_of(3), walker, bus), 1.0)["class_id"]
    assert set(classes) == {ETRAM8.index("bus")}
    assert set(label(with_actors(street_of(3), walker), 1.0)["class_id"]) == {
        ETRAM8.index("pedestrian")
    }


@pytest.mark.parametrize("seed", range(4))
def test_vehicles_of_a_lane_keep_apart_and_stop_at_red(seed):
    red = RedLight(0.0, -3.0, 8.0)
    rng = np.random.default_rng(seed)
    actors = drive(Route(0.0, 20.0, 0.0), (-30.0, 30.0), ["bus"], red, 6.0, False, rng)
    assert ETRAM8.index("bus") in {a.class_id for a in actors}
    actors.sort(key=lambda a: -a.travel_m[0])
    for ahead, behind in pairwise(actors):
        assert np.all(ahead.travel_m + ahead.body.rear_m > behind.travel_m + behind.body.front_m)
    fronts = np.array([(a.travel_m + a.body.front_m)[[0, -1]] for a in actors])
    # 12 m/s can be stopped within 18 m: a vehicle that was farther away 3 s after the light turned
    # red is still behind the line.
    assert np.all(fronts[fronts[:, 0] < -1.0, 1] < 1.0)


def test_night_is_noisier_and_changes_the_picture():
    day, night = (
        simulate_recording(5, width=96, height=64, duration_s=0.5, night=n) for n in (False, True)
    )
    assert not np.array_equal(day.events.t, night.events.t)
    assert street_of(0, night=True).background.mean() < 0.5 * street_of(0).background.mean()
    assert sensor_module.NOISE_HZ["night"] > sensor_module.NOISE_HZ["day"]


def test_recordings_are_well_formed(sample):
    paths = sorted(sample.rglob("*_td.h5"))
    assert [p.name for p in paths if p.parent.name == "train"] == [
        "train_day_0000_td.h5",
        "train_night_0001_td.h5",
    ]
    for path in paths:
        with h5py.File(path) as file:
            group = file["events"]
            assert (group["width"][()], group["height"][()]) == (WIDTH, HEIGHT)
            assert {n: group[n].dtype.str for n in "xypt"} == {
                "x": "<u2",
                "y": "<u2",
                "p": "<i2",
                "t": "<i8",
            }
            x, y, p, t = (group[name][:] for name in "xypt")
        assert len(t) > 1000 and t[0] >= 0 and t[-1] <= 2_000_000 and np.all(np.diff(t) >= 0)
        assert x.max() < WIDTH and y.max() < HEIGHT and set(np.unique(p)) == {0, 1}


def test_boxes_are_well_formed(sample):
    for split in ("train", "val", "test"):
        boxes = boxes_of(sample, split)
        layout = np.load(next((sample / split).glob("*_bbox.npy"))).dtype
        assert layout.itemsize == 40 and layout.fields["class_confidence"][1] == 32
        assert boxes["t"].min() > 100_000
        assert np.all(np.abs(boxes["t"] - np.round(boxes["t"] * 30 / 1e6) * 1e6 / 30) <= 1)
        assert (
            min(boxes["x"].min(), boxes["y"].min()) >= 0
            and min(boxes["w"].min(), boxes["h"].min()) >= 3
        )
        assert np.all(boxes["x"] + boxes["w"] <= WIDTH) and np.all(
            boxes["y"] + boxes["h"] <= HEIGHT
        )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_class_is_in_every_split(sample, split):
    assert set(boxes_of(sample, split)["class_id"]) == set(range(8))


def test_cars_and_pedestrians_prevail(sample):
    boxes = np.concatenate([boxes_of(sample, split) for split in ("train", "val", "test")])
    counts = np.bincount(boxes["class_id"], minlength=8)
    assert set(np.argsort(counts)[-2:]) == {ETRAM8.index("car"), ETRAM8.index("pedestrian")}


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        make_sample(tmp_path / name, seed=seed, workers=workers, **TINY)
    a, b, c = (hashes(tmp_path / name) for name in "abc")
    assert len(a) == 4 and a == b
    assert len(set(a.values()) | set(c.values())) == 8


def test_finished_recordings_are_kept_and_others_refused(tmp_path):
    make_sample(tmp_path, seed=1, workers=1, **TINY)
    kept = next(tmp_path.rglob("val_day_0000_td.h5"))
    next(tmp_path.rglob("train_day_0000_td.h5")).unlink()
    before = kept.stat().st_mtime_ns, hashes(tmp_path)
    make_sample(tmp_path, seed=1, workers=1, **TINY)
    assert kept.stat().st_mtime_ns == before[0]
    assert before[1].items() < hashes(tmp_path).items()
    complete = hashes(tmp_path)
    next(tmp_path.rglob("train_day_0000_bbox.npy")).unlink()
    make_sample(tmp_path, seed=1, workers=1, **TINY)
    assert hashes(tmp_path) == complete
    with pytest.raises(
        InputError, match=r"made with seed 1, expected 2; choose another folder or delete"
    ):
        make_sample(tmp_path, seed=2, workers=1, **TINY)


def test_command_line_says_what_is_wrong(tmp_path):
    tool = Path(__file__).parents[2] / "tools" / "make_sample.py"
    (tmp_path / "file").touch()
    run = subprocess.run([sys.executable, tool, tmp_path / "file"], capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "wrong", [{"duration_s": 0.1}, {"width": 8}, {"seed": -1}, {"workers": -2}]
)
def test_impossible_requests_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is .*, expected"):
        make_sample(tmp_path, **TINY | wrong)


AFTER_OPENCV = """
import cv2, numpy as np, sys
cv2.setNumThreads(2)
cv2.cvtColor(np.zeros((2000, 2000, 3), np.uint8), cv2.COLOR_RGB2BGR)
from etram_mmdet.simulation.sample import make_sample
make_sample(sys.argv[1], width=96, height=64, recordings=(2, 1, 0), duration_s=0.2, workers=2)
assert cv2.getNumThreads() == 2
"""


def test_workers_do_not_wait_for_the_threads_of_opencv(tmp_path):
    subprocess.run([sys.executable, "-c", AFTER_OPENCV, tmp_path / "out"], check=True, timeout=120)


def test_simulator_is_calmer_than_a_driving_camera():
    """A real 1280x720 sensor in a moving car is the upper bound; noise alone is the lower.

    The car made 219,596 events in 8.801 ms (Prophesee's sample of urban driving, EVT 3.0).
    """
    rate = 219_596 / 8.801e-3 / (1280 * 720)
    events = simulate_recording(0, width=320, height=180, duration_s=1.0).events
    simulated = len(events.t) / 1.0 / (320 * 180)
    assert 0.01 * rate < simulated < rate
