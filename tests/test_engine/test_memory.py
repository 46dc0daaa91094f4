"""Out of memory ends with a sentence about the number of lanes that would fit.

Memory is simulated: a step takes a given number of lanes.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import LogProcessor

from etram_mmdet.engine.runner.loops import StreamTrainLoop
from etram_mmdet.engine.runner.memory import advice_when_out_of_memory, largest_batch
from etram_mmdet.models.detectors.stream_state import StreamState
from etram_mmdet.models.losses.class_losses import SeesawClassLoss
from etram_mmdet.utils.errors import InputError

DATA = dict(inputs=list(range(6)), data_samples=list(range(6)))


@pytest.mark.parametrize(
    ("limit", "largest"), [(0.5, None), (1, 1), (10, 10), (13.5, 13), (16, 16)]
)
def test_largest_batch(limit, largest):
    found = largest_batch(float, limit)
    assert max(found, default=None) == largest and all(found[batch] == batch for batch in found)


class Model(torch.nn.Module):
    def __init__(self, room, micro_batch=None, loss=None):
        super().__init__()
        self.loss = loss
        self.room, self.micro_batch, self.stream_states = room, micro_batch, {"loss": StreamState()}

    def train_step(self, data, optim_wrapper):
        assert len(data["inputs"]) == len(data["data_samples"])
        lanes = min(self.micro_batch or 6, len(data["inputs"]))
        if lanes > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return {}


def runner(model):
    return SimpleNamespace(
        model=model,
        iter=4,
        seed=0,
        optim_wrapper=SimpleNamespace(
            zero_grad=lambda: None, initialize_count_status=lambda *a: None
        ),
        call_hook=lambda *args, **kwargs: None,
        message_hub=SimpleNamespace(log_scalars={}),
        log_processor=LogProcessor(),
    )


@pytest.mark.parametrize(
    ("room", "micro_batch", "says"),
    [
        (
            2,
            None,
            "step 5: 6 lanes at a time do not fit, but 2 would: --cfg-options model.micro_batch=2 "
            "trains the same",
        ),
        (5, None, "5 would"),
        (1, 2, "2 lanes at a time do not fit, but 1 would"),
        (0, None, "nor does one"),
    ],
)
def test_advice_names_what_fits(room, micro_batch, says):
    assert says in advice_when_out_of_memory(runner(Model(room, micro_batch)), DATA)


def test_advice_names_no_parts_where_a_loss_needs_the_whole_batch():
    advice = advice_when_out_of_memory(runner(Model(2, loss=SeesawClassLoss(3))), DATA)
    assert "2 would: --cfg-options train_dataloader.batch_size=2 trains a smaller batch" in advice
    assert "micro_batch" not in advice


def test_training_stops_with_the_advice():
    loop = object.__new__(StreamTrainLoop)
    loop._max_iters, loop._max_epochs, loop._epoch = 10, 1, 0
    loop._runner, loop._iter, loop._max_iters = runner(Model(room=2)), 4, 10
    with pytest.raises(InputError, match="micro_batch=2"):
        loop.run_iter(DATA)
    loop._runner = runner(Model(room=6))
    loop.run_iter(DATA)
    assert loop._iter == 5
