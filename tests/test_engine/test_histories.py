"""Histories of logged numbers stay short, and tell the same means."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor

from etram_mmdet.engine.checkpoints.files import make_plain, restore_histories
from etram_mmdet.engine.runner.histories import MOST, RECENT, longest_window, thin


def steps(first: int, stop: int, history: HistoryBuffer | None = None) -> HistoryBuffer:
    """``history`` after the steps ``first`` to ``stop``, whose numbers are those of the steps."""
    found = dict(loss=history or HistoryBuffer())
    for step in range(first, stop):
        found["loss"].update(float(step))
        thin(found)
    return found["loss"]


def checkpoint(history: HistoryBuffer) -> dict:
    hub = dict(log_scalars=dict(loss=history), runtime_info={}, resumed_keys={})
    content = dict(meta={}, message_hub=copy.deepcopy(hub))
    make_plain(content, Config())
    return content


def written(history: HistoryBuffer) -> int:
    """Bytes of a checkpoint with this history."""
    file = io.BytesIO()
    torch.save(checkpoint(history), file)
    return file.tell()


def test_a_checkpoint_no_longer_grows_with_the_steps():
    early = steps(0, MOST)
    late = steps(MOST, 10 * MOST, copy.deepcopy(early))
    assert written(late) <= written(early) < 20 * MOST
    sums, counts = late.data
    assert counts.sum() == 10 * MOST and late.mean() == pytest.approx((10 * MOST - 1) / 2)
    assert (counts[-RECENT:] == 1).all() and np.array_equal(
        sums[-RECENT:], np.arange(10 * MOST)[-RECENT:]
    )
    assert np.log2(counts[0]).is_integer() and (np.diff(counts) <= 0).all()


@pytest.mark.parametrize("stopped", [MOST, MOST + 1, MOST + 2, 2 * MOST])
def test_a_resumed_training_has_the_history_of_one_that_was_never_stopped(stopped):
    before = steps(0, stopped - 1)
    before.update(float(stopped - 1))  # checkpoints are saved within a step
    content = checkpoint(before)
    restore_histories(content)
    resumed = steps(stopped, 3 * MOST, content["message_hub"]["log_scalars"]["loss"])
    for ours, theirs in zip(resumed.data, steps(0, 3 * MOST).data, strict=True):
        assert np.array_equal(ours, theirs)


def test_windows_of_the_log_are_kept():
    custom = [
        dict(data_src="loss", method_name="mean", window_size=size) for size in (5 * MOST, "global")
    ]
    assert longest_window(LogProcessor(window_size=50, by_epoch=False)) == RECENT
    longest = longest_window(LogProcessor(by_epoch=False, custom_cfg=custom[:1]))
    assert longest == 5 * MOST
    found = dict(loss=HistoryBuffer(np.arange(8.0 * MOST), np.ones(8 * MOST)))
    thin(found, longest)
    assert found["loss"].mean(longest) == np.arange(8 * MOST)[-longest:].mean()
