"""Tests of every loss, head and assigner of a variant."""

from __future__ import annotations

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.optim import OptimWrapper

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models.detectors.micro_batches import StreamDataParallel, check_parts
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT
from tests.helpers.plugins import PLUGINS, build_plugin, data_with, with_head
from tests.test_models.test_detector import BACKBONE, batch, build, losses, predictions

each_plugin = pytest.mark.parametrize("name", PLUGINS)


def one_class(label: int, **kwargs) -> dict:
    data = batch(**kwargs)
    for frame in (f for track in data["data_samples"] for f in track):
        frame.gt_instances.labels.fill_(label)
    return data


def total(result: dict) -> torch.Tensor:
    return sum(loss for name, loss in result.items() if "loss" in name)


def gradients(model, data) -> dict[str, torch.Tensor]:
    model.zero_grad()
    total(losses(model, data)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_every_plugin_of_the_package_is_here():
    """Registered classes that are no part of the baseline, no base class and not around a model."""
    baseline = {
        "MaxViTRNN",
        "EventDataPreprocessor",
        "RecurrentDetector",
        "RVTYOLOXHead",
        "RVTSimOTAAssigner",
    }
    around = {"StreamTTAModel"}
    ours = {
        name
        for registry in (MODELS, TASK_UTILS)
        for name, cls in registry.module_dict.items()
        if cls.__module__.startswith("etram_mmdet.")
    }
    assert ours - baseline - around == set(PLUGINS)


@each_plugin
def test_off_by_default(name):
    assert name not in load_config(ROOT / "configs" / "baseline.py").pretty_text


@each_plugin
def test_changes_the_loss(name):
    """The loss is compared after one step, since feedback and equalization need statistics."""
    results = []
    for model in (build().train(), build_plugin(name)):
        losses(model, batch(seed=3))
        results.append(losses(model, batch(seed=4)))
    plain, changed = results
    assert any(
        key not in plain or not torch.allclose(plain[key], changed[key], rtol=1e-4)
        for key in changed
    )


@each_plugin
def test_gradients_are_finite_and_reach_every_parameter(name):
    for key, grad in gradients(build_plugin(name), batch()).items():
        assert grad is not None and grad.isfinite().all(), key


@each_plugin
@pytest.mark.parametrize(
    "data", [dict(boxes=0), dict(labelled=((0, 0),) * 3)], ids=["no boxes", "no labels"]
)
def test_survives_frames_without_boxes(name, data):
    found = gradients(build_plugin(name), batch(**data))
    assert all(grad is not None and grad.isfinite().all() for grad in found.values())


@each_plugin
@pytest.mark.parametrize(
    "label", [0, 1, 2], ids=["common", "rare", "absent from the training data"]
)
def test_survives_one_class(name, label):
    model = build_plugin(name)
    for seed in (1, 2):
        result = losses(model, one_class(label, seed=seed))
        assert all(loss.isfinite() for loss in result.values())
    total(result).backward()


@each_plugin
def test_survives_one_class_of_training_data(name):
    model = build_plugin(name, data_with(0, 0, 0))
    assert total(losses(model, batch())).isfinite()


@each_plugin
def test_survives_half_precision(name):
    model = build_plugin(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = losses(model, batch())
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in result.values())
    total(result).backward()


@each_plugin
def test_checkpointing_changes_no_gradient(name):
    plain = gradients(build_plugin(name), batch())
    again = gradients(
        build_plugin(name, with_cp=True, backbone=dict(BACKBONE, with_cp=True)), batch()
    )
    for key, grad in plain.items():
        torch.testing.assert_close(again[key], grad, rtol=1e-4, atol=1e-6, msg=key)


@each_plugin
def test_a_fresh_copy_from_its_weights_predicts_the_same(name):
    """A checkpoint holds everything about the training data that a test needs."""
    model = build_plugin(name)
    losses(model, batch())
    copy = build(**PLUGINS[name])
    copy.load_state_dict(model.state_dict())
    ours, theirs = predictions(model, batch(seed=7)), predictions(copy, batch(seed=7))
    for one, other in zip(ours, theirs, strict=True):
        scores = one.pred_instances.scores
        assert torch.equal(scores, other.pred_instances.scores) and scores.numel()
        assert ((scores >= 0) & (scores <= 1)).all()


REFUSED_IN_PARTS = {"AuxSmallYOLOXHead", "EQLV2ClassLoss", "FeedbackIoULoss", "SeesawClassLoss"}


@each_plugin
def test_parts_train_as_the_whole_batch_does_or_are_refused(name):
    """Six lanes, two at a time; BatchNorm's statistics are frozen."""
    labelled = ((1, 0, 0, 0, 1, 1), (0, 1, 0, 0, 1, 1), (1, 0, 1, 0, 0, 1))
    models = [build_plugin(name), build_plugin(name, micro_batch=2)]
    if name in REFUSED_IN_PARTS:
        with pytest.raises(
            InputError, match=rf"micro_batch=2, but bbox_head\S* \({name}\) needs the whole batch"
        ):
            check_parts(models[1])
        check_parts(models[0])
        return
    before = torch.cat([p.detach().flatten() for p in models[0].parameters()])
    moves = []
    for model in models:
        check_parts(model)
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.eval()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
        for seed in range(2):
            model.train_step(batch((not seed,) * 6, labelled, seed=seed), wrapper)
        moves.append(torch.cat([p.detach().flatten() for p in model.parameters()]) - before)
    difference = float((moves[0] - moves[1]).norm() / moves[0].norm())
    assert difference < (0.3 if name == "ABCYOLOXHead" else 1e-5)  # which draws at random


@pytest.mark.parametrize(
    "head",
    [
        dict(loss_bbox=dict(type="SizeAwareIoULoss", normalize=True)),
        dict(type="SizeAwareYOLOXHead", size_weight=dict(normalize=True)),
    ],
    ids=str,
)
def test_losses_that_compare_boxes_are_refused_in_parts(head):
    with pytest.raises(InputError, match="needs the whole batch at once"):
        check_parts(build(**with_head(**head), micro_batch=2))


def test_losses_of_mmdet_that_compare_boxes_are_refused_in_parts():
    model = torch.nn.Module()
    model.micro_batch = 2
    for loss in (
        dict(type="GHMC"),
        dict(type="GHMR"),
        dict(type="SeesawLoss"),
        dict(type="EQLV2Loss", num_classes=3),
    ):
        model.loss = MODELS.build(loss)
        with pytest.raises(
            InputError, match=rf"loss \({loss['type']}\) needs the whole batch at once"
        ):
            check_parts(model)


def test_two_processes_agree():
    """One of two processes gets no box in its second step.

    Afterwards both hold the same weights, for every plugin.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(
        _two_steps, args=(port,), nprocs=2, start_method="spawn"
    )  # a fork may hang in backward


def _two_steps(rank: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for name in PLUGINS:
        model = StreamDataParallel(build_plugin(name), broadcast_buffers=False)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
        model.train_step(batch(seed=rank), wrapper)
        model.train_step(batch(is_first=(False, False), boxes=2 * rank, seed=2), wrapper)
        flat = torch.cat([p.detach().flatten() for p in model.parameters()])
        both = [torch.empty_like(flat) for _ in range(2)]
        dist.all_gather(both, flat)
        assert flat.isfinite().all() and torch.equal(*both), name
    # Destructors would wait for gloo's threads, which may wait for the interpreter lock that the
    # destructors hold.
    os._exit(0)
