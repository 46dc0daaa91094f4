"""The checkpoint that comes with the package, and how such a file is made."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from etram_mmdet.apis import EventInferencer, init_detector
from etram_mmdet.engine.checkpoints.folder import PACKAGED, checkpoint_file, work_folder_of
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.release import digest, release
from etram_mmdet.utils.errors import InputError


@pytest.fixture(scope="module")
def released(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "small.pth"
    return path, release(trained[0], path)


def test_a_released_checkpoint_detects_as_the_one_it_was_made_of(released, trained, raw_sample):
    recording = next((raw_sample / "val").glob("val_day_0000*.h5"))
    scores = []
    for checkpoint in (trained[0] / "iter_4.pth", released[0]):
        window = next(EventInferencer(checkpoint, device="cpu").windows(recording, 400_000))
        scores.append(torch.from_numpy(window.seen.scores).sort().values[-5:])
    assert len(scores[0]) == 5 and torch.allclose(*scores, rtol=0.02)
    models = [init_detector(checkpoint, device="cpu") for checkpoint in (trained[0], released[0])]
    for fact in ("step_us", "sensor_px", "trained_on", "dataset_meta"):
        assert getattr(models[0], fact) and getattr(models[0], fact) == getattr(models[1], fact)


def test_it_holds_what_detection_needs(released, trained):
    path, told = released
    content = load_checkpoint_file(path)
    whole = load_checkpoint_file(trained[0])
    assert set(content) == {"meta", "state_dict"} and set(whole) > {
        "meta",
        "state_dict",
        "optimizer",
    }
    for name, tensor in content["state_dict"].items():
        original = whole["state_dict"][name]
        assert tensor.dtype == (torch.float16 if original.dim() > 1 else original.dtype)
    assert path.stat().st_size < (trained[0] / "iter_4.pth").stat().st_size / 4
    assert "work_dirs" not in content["meta"]["etram_mmdet_config"] and str(trained[0]) not in str(
        content["meta"]
    )
    assert digest(path) == told and len(told) == 16
    path.write_bytes(path.read_bytes() + b"0")
    assert digest(path) != told


def test_only_a_checkpoint_with_a_config_is_released(tmp_path):
    torch.save(dict(state_dict={}, meta={}), tmp_path / "bare.pth")
    with pytest.raises(InputError, match="carries no config"):
        release(tmp_path / "bare.pth", tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_demo_comes_with_the_package(tmp_path, monkeypatch):
    """Under a megabyte, tensors and plain values only.

    A file or work folder of that name comes first.
    """
    monkeypatch.chdir(tmp_path)
    packaged = checkpoint_file("demo")
    assert packaged == PACKAGED / "demo.pth" and packaged.stat().st_size < 1_000_000
    assert work_folder_of(packaged) == "work_dirs/packaged_demo"
    torch.load(packaged, weights_only=True)
    with zipfile.ZipFile(packaged) as archive:
        assert all(b"/tmp/" not in archive.read(name) for name in archive.namelist())
    model = init_detector("demo", device="cpu")
    assert model.dataset_meta["classes"][:2] == ("pedestrian", "car") and model.step_us == 50_000
    (tmp_path / "demo").mkdir()
    assert checkpoint_file("demo") == packaged
    shutil.copy(packaged, tmp_path / "demo" / "iter_7.pth")
    assert checkpoint_file("demo") == Path("demo/iter_7.pth")
    assert work_folder_of(checkpoint_file("demo")) == str(tmp_path / "demo")
    with pytest.raises(InputError, match="no such checkpoint"):
        init_detector("./demo.pth", device="cpu")


def test_the_same_weights_make_the_same_bytes(released, trained, tmp_path):
    made = [release(trained[0], tmp_path / f"{k}.pth") for k in range(2)]
    assert made[0] == made[1] and io.BytesIO((tmp_path / "0.pth").read_bytes()).read(2) == b"PK"
