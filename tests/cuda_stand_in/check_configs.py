"""Every kind of shipped config trains, streams and predicts on the device, as on the CPU."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage

from tests.cuda_stand_in import autocast, device  # noqa: F401
from tests.cuda_stand_in.detectors import (
    STATELESS,
    build,
    clips,
    narrow_config,
    one_of_each_kind,
    predict,
    stream,
    wrapper_of,
)
from tests.cuda_stand_in.memory import DEVICE, NAME
from tests.cuda_stand_in.waits import counted, recorded

KINDS = one_of_each_kind()
MOST_WAITS = 4  # of a training step of any config
# Waits of a training step: of the assigner, and of those kinds that have more.
ASSIGNER = {
    ("_local_scalar_dense", "rvt_simota_assigner.py candidates"): 1,
    ("nonzero", "rvt_simota_assigner.py choose"): 1,
}
OF_KIND = {
    "eqlv2": {
        (
            "_index_put_impl_ by indices of the host",
            "class_losses.py forward > eqlv2_loss.py expand_label",
        ): 1
    },
    "fourscale_sizeaware_auxsmall": {
        ("_local_scalar_dense", "rvt_simota_assigner.py candidates"): 1,
        ("nonzero", "rvt_simota_assigner.py choose"): 1,
    },  # again, for the second head
    "seesaw": {
        ("copy to the device", "class_losses.py forward > seesaw_loss.py seesaw_ce_loss"): 1
    },
}
# Settings that no shipped config has by default.
SETTINGS = {
    "baseline": {
        "model.micro_batch": 1,
        "model.with_cp": True,
        "model.backbone.with_cp": True,
        "model.backbone.dws_conv": True,
    },
    "fourscale_sizeaware_auxsmall": {"model.bbox_head.merge_at_test": True},
}


@pytest.fixture(scope="module")
def baseline():
    cfg = narrow_config("baseline")
    return cfg, build(cfg, "cpu")


def works(cfg: Config) -> Counter:
    """Train, predict and stream; returns the waits of the second step, which carries its state."""
    model = build(cfg)
    wrapper = wrapper_of(model, cfg)
    for is_first in (True, False):
        with recorded() as seen:
            log = model.train_step(clips(model, 2, 2, is_first), wrapper)
        waits = counted(seen)
        assert log["loss"].isfinite() and log["num_pos"] > 0
    assert predict(model)[0].pred_instances.scores.device == torch.device(DEVICE)
    assert all(len(boxes) and boxes.scores.isfinite().all() for boxes in stream(model))
    return Counter(waits)


@pytest.mark.parametrize("name", KINDS)
def test_a_config_of_each_kind(name):
    waits = works(narrow_config(name))
    assert waits == Counter(ASSIGNER) + Counter(OF_KIND.get(name, {}))
    assert sum(waits.values()) <= MOST_WAITS


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_no_config_has(name):
    works(narrow_config(name, **SETTINGS[name]))


def test_a_backbone_without_state():
    cfg = narrow_config("baseline")
    cfg.model = Config(dict(model=STATELESS)).model
    works(cfg)


def test_training_equals_that_on_the_cpu(baseline):
    (loss, gradients), (our_loss, our_gradients) = (
        gradients_of(copy.deepcopy(baseline[1]).to(where)) for where in ("cpu", DEVICE)
    )
    assert our_loss == pytest.approx(loss, rel=1e-6)
    for name, gradient in gradients.items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(
            our_gradients[name], gradient, rtol=0, atol=1e-3 * largest + 1e-7, msg=name
        )


def gradients_of(model) -> tuple[float, dict[str, torch.Tensor]]:
    data = model.train().data_preprocessor(clips(model, 2, 2), True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    return loss.item(), {name: each.grad.cpu() for name, each in model.named_parameters()}


def test_scores_equal_those_on_the_cpu(baseline):
    theirs, ours = (
        torch.cat([boxes.scores.sort().values[-5:].cpu() for boxes in stream(network, 3)])
        for network in (copy.deepcopy(baseline[1]), copy.deepcopy(baseline[1]).to(DEVICE))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_lane_starts_while_another_goes_on(baseline):
    cfg, model = baseline[0], copy.deepcopy(baseline[1]).to(DEVICE)
    wrapper = wrapper_of(model, cfg)
    model.train_step(clips(model, 2, 2), wrapper)
    data = clips(model, 2, 2, is_first=False)
    data["data_samples"][0][0].set_metainfo(dict(is_first=True))
    assert model.train_step(data, wrapper)["loss"].isfinite()


@pytest.mark.parametrize("without", ["boxes", "labels"])
def test_a_batch_without(without, baseline):
    cfg, model = baseline[0], copy.deepcopy(baseline[1]).to(DEVICE)
    data = clips(model, 2, 2)
    for frame in (frame for sample in data["data_samples"] for frame in sample):
        if without == "boxes":
            frame.gt_instances = frame.gt_instances[:0]
        else:
            frame.set_metainfo(dict(is_labelled=False))
    assert model.train_step(data, wrapper_of(model, cfg))["loss"].isfinite()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_streaming_in_low_precision(precision, baseline):
    model = copy.deepcopy(baseline[1]).to(DEVICE)
    assert all(boxes.scores.isfinite().all() for boxes in stream(model, precision=precision))


def test_mixed_precision_trains_with_fused_adamw(baseline):
    model = copy.deepcopy(baseline[1]).to(DEVICE).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler(NAME, init_scale=2.0**8)
    before = [each.clone() for each in model.parameters()]
    with torch.autocast(NAME, dtype=torch.float16):
        data = model.data_preprocessor(clips(model, 2, 2), True)
        assert data["inputs"].dtype == torch.float16
        loss, _ = model.parse_losses(model(**data, mode="loss"))
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    after = list(model.parameters())
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_averaged_weights(baseline):
    model = copy.deepcopy(baseline[1]).to(DEVICE)
    average = ExponentialMovingAverage(model, momentum=0.1)
    average.update_parameters(model)
    assert next(average.parameters()).device == torch.device(DEVICE)
