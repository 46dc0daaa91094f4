"""Trainings that count epochs: an epoch is one pass over the sampler."""

from __future__ import annotations

import logging
from collections import Counter
from types import SimpleNamespace

import pytest
from mmdet.registry import DATASETS, LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner

from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.datasets.raw_event_dataset import RecordingSequence
from etram_mmdet.datasets.shared_keys import dataset_configs
from etram_mmdet.engine.config.epochs import count_in_steps, counts_epochs, steps_of_epoch
from etram_mmdet.engine.config.load import complete_config, load_config
from etram_mmdet.engine.runner.loops import EpochBasedTrainLoop, StreamTrainLoop
from etram_mmdet.engine.runner.stream_runner import StreamRunner
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import CONFIG
from tests.helpers.paths import ROOT

EPOCHS = ROOT / "configs" / "epochs.py"
SPLITS = ("train", "val", "test")


def written(tmp_path, text: str):
    path = tmp_path / "child.py"
    path.write_text(f"_base_ = {str(ROOT / CONFIG)!r}\n{text}")
    return path


@pytest.mark.parametrize(("mode", "batch"), [("stream", 2), ("random", 4), ("mixed", 4)])
def test_an_epoch_shows_the_clips_of_the_data_once(sample, mode, batch):
    options = {"data_root": f"{sample}/", "train_dataloader.batch_sampler.mode": mode}
    cfg = load_config(EPOCHS, options | {"train_dataloader.batch_size": batch})
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    clips = sum(-(-(s.stop - s.start) // 5) for s in dataset.segments)
    items = len(dataset.single_clips) if mode == "random" else clips
    lanes = 2 if mode == "mixed" else batch
    assert steps_of_epoch(cfg) == -(-items // lanes)


def test_epochs_become_steps():
    cfg = load_config(EPOCHS, {"train_cfg.val_begin": 3, "train_cfg.dynamic_intervals": [(10, 2)]})
    assert counts_epochs(cfg.train_cfg)
    more = [
        dict(type="OneCycleLR", total_steps=12, eta_max=0.1),
        dict(type="ConstantLR", by_epoch=False, end=5),
    ]
    cfg.param_scheduler = [*cfg.param_scheduler, *more]
    count_in_steps(cfg, 7)
    assert cfg.train_cfg.to_dict() == dict(
        type="StreamTrainLoop",
        max_epochs=12,
        max_iters=84,
        val_interval=7,
        val_begin=21,
        dynamic_intervals=[(70, 14)],
    )
    assert not counts_epochs(cfg.train_cfg)
    assert [
        (s.get("by_epoch"), s.get("convert_to_iter_based"), s.get("end"))
        for s in cfg.param_scheduler
    ] == [
        (True, True, 1),
        (True, True, 12),
        (False, None, None),
        (False, None, 5),
    ]
    assert cfg.param_scheduler[2].total_steps == 84
    hook = cfg.default_hooks.checkpoint
    assert (hook.by_epoch, hook.interval) == (False, 7)
    complete_config(cfg)  # which a training does with the config that another one left


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "train_cfg = dict(by_epoch=True, max_epochs=3)",
            r"needs max_epochs and no max_iters.*_delete_=True",
        ),
        (
            "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop')",
            "needs max_epochs and no max_iters",
        ),
        (
            "param_scheduler = [dict(type='StepLR', step_size=2)]",
            "StepLR counts epochs .* but train_cfg counts steps",
        ),
        (
            "param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='coco/AP')]",
            "ReduceOnPlateauLR follows the results of validations, which a resumed training",
        ),
        (
            "train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=0)",
            "train_cfg.max_epochs is 0, expected at least 1",
        ),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        load_config(written(tmp_path, text))


def test_mmengines_other_spelling_is_a_training_in_epochs_too(tmp_path):
    text = "train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=3)\nparam_scheduler = []"
    cfg = load_config(written(tmp_path, text))
    count_in_steps(cfg, 10)
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (
        "StreamTrainLoop",
        30,
        10,
    )


def loop_at(step: int, events: list) -> StreamTrainLoop:
    """A loop of three epochs of two steps whose steps are noted and nothing else."""
    loop = object.__new__(StreamTrainLoop)
    loop._max_iters, loop._max_epochs, loop._iter, loop._epoch = 6, 3, step, 0
    loop._runner = SimpleNamespace(
        seed=0,
        call_hook=lambda name: events.append((name, loop.epoch)),
        message_hub=SimpleNamespace(log_scalars={}),
        log_processor=SimpleNamespace(window_size=10, custom_cfg=[]),
    )
    return loop


def step(loop: StreamTrainLoop, batch: int) -> None:
    loop.runner.call_hook(f"step {loop.iter}")
    loop._iter += 1


@pytest.mark.parametrize("start", [0, 2, 3, 6])
def test_hooks_see_epochs_also_in_a_resumed_training(monkeypatch, start):
    events = []
    monkeypatch.setattr(IterBasedTrainLoop, "run_iter", step)
    loop = loop_at(start, events)
    loop._epoch = loop._epoch_of_step()
    for batch in range(start, 6):
        loop.run_iter(batch)
    everything = [
        *(("step 0", 0), ("step 1", 0), ("after_train_epoch", 0), ("before_train_epoch", 1)),
        *(("step 2", 1), ("step 3", 1), ("after_train_epoch", 1), ("before_train_epoch", 2)),
        *(("step 4", 2), ("step 5", 2)),
    ]
    first = next(
        (i for i, (name, _) in enumerate(everything) if name == f"step {start}"), len(everything)
    )
    assert events == everything[first:]


def test_another_runner_does_not_wait_for_the_end_of_an_endless_sampler(sample):
    cfg = load_config(EPOCHS, {"data_root": f"{sample}/", "train_dataloader.num_workers": 0})
    loop = object.__new__(EpochBasedTrainLoop)
    loop.dataloader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    with pytest.raises(InputError, match="runner_type='StreamRunner'"):
        loop.run()
    assert LOOPS.get("EpochBasedTrainLoop") is EpochBasedTrainLoop


@pytest.mark.parametrize("kind", [FolderSequence, RecordingSequence])
def test_a_training_reads_every_recording_once(kind, sample, raw_sample, tmp_path, monkeypatch):
    """Also one that counts epochs, and whose groups of attention follow from the frames.

    They follow from the first recording with labels, of the test data.
    """
    is_raw = kind is RecordingSequence
    read = Counter()
    init = kind.__init__

    def counting(self, *args):
        init(self, *args)
        read[self.name] += 1

    monkeypatch.setattr(kind, "__init__", counting)
    options = {"data_root": f"{raw_sample if is_raw else sample}/", "work_dir": str(tmp_path)}
    cfg = load_config(EPOCHS, options | {"launcher": "none"})
    for _, dataset in dataset_configs(cfg) if is_raw else ():
        dataset["type"] = "RawEventDataset"
    del cfg.model.backbone["partition_size"]
    runner = StreamRunner.from_cfg(cfg)
    runner._build_training()
    logging.getLogger("mmengine").handlers.clear()
    assert runner.model.backbone.partition_size == (1, 1)
    assert runner.train_loop.max_iters == 12 * len(runner.train_dataloader)
    folders = {split: sorted(f.name for f in (sample / split).iterdir()) for split in SPLITS}
    assert read == Counter(folders["train"] + folders["val"] + folders["test"][:1])
