"""A checkpoint is opened, checked, turned into a config and built in one place."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmdet.apis import init_detector as mmdet_init_detector

from etram_mmdet.apis import EventInferencer, init_detector
from etram_mmdet.engine.checkpoints.opening import (
    checkpoint_classes,
    config_for_checkpoint,
    load_checkpoint_file,
)
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models import RecurrentDetector
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import CONFIG
from tests.helpers.paths import ROOT

PACKAGE = str(ROOT / "etram_mmdet")


def flat(maps):
    return (
        [maps]
        if isinstance(maps, torch.Tensor)
        else [each for level in maps for each in flat(level)]
    )


class _BuiltNow(Exception):
    pass


def files_entered(call) -> dict[str, set[str]]:
    """Our files that ``call`` enters before the model's constructor, each with its callers.

    The files of a folder within ``engine/checkpoints`` count as one.
    """
    entered: dict[str, set[str]] = {}

    def ours(frame) -> str:
        while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back
        path = "" if frame is None else frame.f_code.co_filename.removeprefix(PACKAGE)
        return "/".join(path.split("/")[:4]) if "/engine/checkpoints/" in f"/{path}" else path

    def watch(frame, event, _):
        if event != "call" or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        if frame.f_code is RecurrentDetector.__init__.__code__:
            raise _BuiltNow
        here, before = ours(frame), ours(frame.f_back)
        if here != before:
            entered.setdefault(here, set()).add(before)

    sys.setprofile(watch)
    try:
        call()
    except (_BuiltNow, InputError) as end:
        assert isinstance(end, _BuiltNow) or "_BuiltNow" in str(
            end
        )  # a sentence about a checkpoint's config
    finally:
        sys.setprofile(None)
    return entered


def test_the_way_from_a_path_to_the_model_is_short(trained):
    path = trained[0] / "iter_4.pth"
    init_detector(path, device="cpu")  # imports are no calls
    entered = files_entered(lambda: init_detector(path, device="cpu"))
    # The sixth completes the representation of an earlier version, the seventh finds the newest
    # checkpoint of a work folder.
    assert 0 < len(entered) <= 7, entered
    assert all(len(places) == 1 for places in entered.values()), entered


def test_arguments_come_in_mmdets_order(trained, sample):
    path = trained[0] / "iter_4.pth"
    options = {"data_root": f"{sample}/", "model.backbone.partition_size": (1, 3)}
    alone = init_detector(path, device="cpu")
    cfg = load_config(ROOT / CONFIG, options)
    weights = load_checkpoint_file(path)["state_dict"]
    for model in (
        alone,
        init_detector(CONFIG, path, "none", "cpu", options),
        init_detector(cfg, str(path), device="cpu"),
        init_detector(config=path, device="cpu"),
    ):
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        assert model.dataset_meta["classes"] == alone.dataset_meta["classes"] and not model.training
    coloured = init_detector(path, palette="coco", device="cpu").dataset_meta
    assert (
        coloured["classes"] == alone.dataset_meta["classes"]
        and coloured["palette"] != alone.dataset_meta["palette"]
    )


def test_names_of_the_checkpoint_rule(trained, tmp_path):
    content = load_checkpoint_file(trained[0] / "iter_4.pth")
    names = tuple(f"kind {k}" for k in range(8))
    content["meta"]["dataset_meta"]["classes"] = names
    torch.save(content, tmp_path / "renamed.pth")
    with pytest.raises(
        InputError, match=r"was trained to find kind 0, .* but the config's data have pedestrian"
    ):
        init_detector(
            CONFIG,
            tmp_path / "renamed.pth",
            device="cpu",
            cfg_options={"model.backbone.partition_size": (1, 3)},
        )
    content["meta"].pop("etram_mmdet_config")
    torch.save(content, tmp_path / "bare.pth")
    with pytest.raises(InputError, match="carries no config; give one"):
        init_detector(tmp_path / "bare.pth", device="cpu")


def test_a_device_in_the_place_of_a_checkpoint_is_named(trained):
    with pytest.raises(InputError, match=r"is a checkpoint itself; .* device='cpu'"):
        init_detector(trained[0] / "iter_4.pth", "cpu")


def test_mmdets_inference_takes_a_representation(trained, raw_sample):
    """It takes one window at a time, without state; for a stream there is EventInferencer."""
    model = init_detector(trained[0] / "iter_4.pth", device="cpu")
    with pytest.raises(
        InputError, match=r"takes the representation .* as an array; for a recording use"
    ):
        inference_detector(model, str(next((raw_sample / "val").glob("*.h5"))))
    image = np.random.default_rng(0).integers(0, 10, (20, 32, 48), dtype=np.uint8)
    one = inference_detector(model, image)
    again, other = inference_detector(model, [image, image[:, ::-1].copy()])
    assert torch.equal(one.pred_instances.bboxes, again.pred_instances.bboxes) and len(
        one.pred_instances
    )
    assert not torch.equal(one.pred_instances.scores, other.pred_instances.scores)
    found = EventInferencer(model, score_thr=0.0).detect(image)
    assert found.scores == pytest.approx(
        one.pred_instances.scores.sort(descending=True)[0].numpy(), abs=1e-6
    )
    with pytest.raises(InputError, match=r"was given float64 \(32, 48, 3\), expected the bytes"):
        inference_detector(model, np.zeros((32, 48, 3)))


def test_mmdets_init_detector_builds_the_same_from_a_dumped_config(trained):
    """The config that a run writes into its folder is complete."""
    (dumped,) = trained[0].glob("*.py")
    theirs = mmdet_init_detector(str(dumped), device="cpu")
    ours = init_detector(trained[0] / "iter_4.pth", device="cpu")
    theirs.load_state_dict(ours.state_dict())
    frames = torch.randint(0, 9, (1, 1, 20, 32, 48)).float()
    assert all(
        torch.equal(a, b) for a, b in zip(flat(theirs(frames)), flat(ours(frames)), strict=True)
    )


def test_another_downsample_than_in_training_is_told(trained, monkeypatch):
    said = []
    monkeypatch.setattr(
        "etram_mmdet.engine.checkpoints.opening.print_log", lambda text, *_: said.append(text)
    )
    checkpoint = trained[0] / "iter_4.pth"
    for options in ({}, {"representation.downsample": "nearest"}, {"window_us": 40_000}):
        config_for_checkpoint(None, checkpoint, options)
    assert said == []
    config_for_checkpoint(None, checkpoint, {"representation.downsample": "sum"})
    assert "with downsample=nearest, but the config has downsample=sum" in said[0]


def test_what_a_checkpoint_was_trained_on_are_pairs_of_numbers(trained, tmp_path):
    content = load_checkpoint_file(trained[0] / "iter_4.pth")
    assert (
        init_detector(trained[0] / "iter_4.pth", device="cpu").trained_on
        == content["meta"]["trained_on"]
    )
    for wrong in (
        [1.0, 2.0],
        {"side_px": [1.0]},
        {"side_px": [1.0, float("nan")]},
        {"side_px": ["1", "2"]},
    ):
        content["meta"]["trained_on"] = wrong
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(InputError, match=r"meta\.trained_on is not valid"):
            load_checkpoint_file(tmp_path / "x.pth")
    del content["meta"]["trained_on"]
    torch.save(content, tmp_path / "x.pth")
    assert init_detector(tmp_path / "x.pth", device="cpu").trained_on == {}


def test_the_classes_that_a_checkpoint_carries_open_no_file(trained, tmp_path):
    """This holds even if its config is only compared with a trusted one."""
    secret = tmp_path / "secret.json"
    secret.write_text('{"password": 1}')
    content = load_checkpoint_file(trained[0])
    carried = json.loads(content["meta"]["etram_mmdet_config"])
    for loader in ("val_dataloader", "test_dataloader"):
        carried[loader]["dataset"]["class_set"] = str(secret)
    content["meta"] = {"etram_mmdet_config": json.dumps(carried)}
    torch.save(
        dict(meta=content["meta"], state_dict=content["state_dict"]), tmp_path / "strange.pth"
    )
    for paths in ([tmp_path / "strange.pth"], [ROOT / CONFIG, tmp_path / "strange.pth"]):
        with pytest.raises(InputError, match=r"class_set=.*which would open or download"):
            init_detector(*paths, device="cpu")
    with pytest.raises(InputError, match="would open or download"):
        checkpoint_classes(content, "strange.pth")
