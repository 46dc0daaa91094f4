"""A training that diverged ends in one sentence, whichever part meets its numbers first.

That may be a head, an assigner or a loss.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import LogProcessor

from etram_mmdet.engine.hooks.finite_loss import FiniteLossHook
from etram_mmdet.engine.runner import divergence
from etram_mmdet.engine.runner.divergence import check_diverged, check_finite
from etram_mmdet.engine.runner.loops import StreamTrainLoop
from etram_mmdet.utils.errors import InputError
from tests.test_models.test_detector import batch, build
from tests.test_models.test_mmdet_heads import HEADS, HW, head_of

OWN = {
    name: dict(
        bbox_head=dict(type=head, num_classes=3), train_cfg=dict(assigner=dict(type=assigner))
    )
    for name, head, assigner in (
        ("RVT", "RVTYOLOXHead", "RVTSimOTAAssigner"),
        ("RVT with mmdet's SimOTA", "RVTYOLOXHead", "SimOTAAssigner"),
        ("size-aware", "SizeAwareYOLOXHead", "RVTSimOTAAssigner"),
    )
}


def trained(model, **kwargs) -> list[dict]:
    """Logs of one step of ``model``; what the step raises passes."""
    logs = []
    MessageHub.get_current_instance().update_info("epoch", 0)

    def call_hook(name, outputs=None, **_):
        logs.extend([outputs] * (name == "after_train_iter"))

    loop = object.__new__(StreamTrainLoop)
    loop._max_iters, loop._max_epochs, loop._epoch = 10, 1, 0
    loop._iter, loop._max_iters = 6, 10
    loop._runner = SimpleNamespace(
        model=model.train(),
        iter=6,
        seed=0,
        call_hook=call_hook,
        message_hub=SimpleNamespace(log_scalars={}),
        log_processor=LogProcessor(),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-9)),
        **kwargs,
    )
    loop.run_iter(batch(hw=HW))
    return logs


def grown(model, factor: float):
    """``model`` with larger weights of neck and head.

    They hold a NaN, or they are finite and only the outputs are not.
    """
    with torch.no_grad():
        for parameter in (*model.neck.parameters(), *model.bbox_head.parameters()):
            parameter *= factor
    return model


@pytest.mark.parametrize("factor", [1e30, float("nan")])
@pytest.mark.parametrize("name", HEADS)
def test_every_head_ends_in_the_sentence_or_in_a_loss_that_the_hook_sees(name, factor):
    try:
        logs = trained(grown(head_of(name), factor))
    except FloatingPointError as error:
        assert str(error).startswith("step 7: ") and "base_lr" in str(error)
    else:
        assert not all(torch.as_tensor(loss).isfinite().all() for loss in logs[0].values())


def test_own_heads_come_to_the_hook_with_every_assigner():
    """No assigner may crash a GPU before the hook: afterwards nothing on it can be read."""
    for name in OWN:
        assert not trained(grown(build(**OWN[name]), float("nan")))[0]["loss"].isfinite()


@pytest.mark.parametrize("is_distributed", [False, True])
def test_other_errors_stay_as_they_are(is_distributed, monkeypatch):
    """The outputs are checked without BatchNorm's exchange between processes.

    The other processes do not take part in it.
    """
    monkeypatch.setattr(divergence, "is_distributed", lambda: is_distributed)
    model = build()
    model.bbox_head.loss = lambda *args: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trained(model)
    assert model.training != is_distributed


def test_a_check_on_the_gpu_counts_as_divergence():
    with pytest.raises(FloatingPointError, match=r"step 3: a check on the GPU failed.*base_lr"):
        check_diverged(
            RuntimeError("CUDA error: device-side assert triggered"), SimpleNamespace(iter=2), {}
        )


def test_lost_weights_are_neither_validated_nor_saved():
    runner = SimpleNamespace(model=build(), iter=6)
    hook = FiniteLossHook()
    hook.before_val(runner)
    hook.before_save_checkpoint(runner, dict(meta=dict(iter=7)))
    grown(runner.model, float("inf"))
    with pytest.raises(FloatingPointError, match=r"validation at step 6: neck\.\S+ holds NaN"):
        hook.before_val(runner)
    with pytest.raises(FloatingPointError, match=r"step 7 was not saved: neck\."):
        hook.before_save_checkpoint(runner, dict(meta=dict(iter=7)))


def test_weights_that_are_not_finite_are_refused_by_name():
    weights = dict(a=torch.ones(2), count=torch.tensor(3), b=torch.tensor([1.0, float("nan")]))
    with pytest.raises(InputError, match=r"x\.pth: b holds NaN or infinity.*earlier checkpoint"):
        check_finite(weights, "x.pth")
    check_finite(dict(a=weights["a"], count=weights["count"]), "x.pth")
