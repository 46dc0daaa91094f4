"""Lines of the run summary about the data."""

from __future__ import annotations

from mmengine.config import Config

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.statistics import frame_step_us
from etram_mmdet.events.preprocessing.frame_times import JITTER_US


def data_lines(dataset: ETraMDataset) -> list[str]:
    """Size of a data set and its boxes by class.

    Args:
        dataset: the data set; one of another kind describes itself.
    """
    if not isinstance(dataset, ETraMDataset):
        return [repr(dataset)]
    counts = dataset.box_counts
    classes = dataset.metainfo["classes"]
    present = [
        f"{name} {number:,}"
        for name, number in zip(classes, counts.tolist(), strict=True)
        if number
    ]
    absent = [name for name, number in zip(classes, counts, strict=True) if not number]
    lines = [
        f"{dataset.folder}: {len(dataset.sequences)} recordings, {len(dataset):,} labelled frames, "
        f"{counts.sum():,} boxes, class_set {dataset.classes.name}",
        ", ".join(present),
        *filter(None, [dataset.told_of_left_out()]),
    ]
    return lines + ([f"WARNING no boxes of {', '.join(absent)}"] if absent else [])


def unlearnt_classes(train: ETraMDataset, val: ETraMDataset) -> list[str]:
    """A warning if a class has boxes in the validation data only.

    Args:
        train: the training data.
        val: the validation data.
    """
    if not (isinstance(train, ETraMDataset) and isinstance(val, ETraMDataset)):
        return []
    seen, asked = (d.box_counts for d in (train, val))
    names = [
        name
        for name, a, b in zip(train.metainfo["classes"], seen, asked, strict=True)
        if b and not a
    ]
    return (
        [f"WARNING {', '.join(names)}: boxes here, but none in the training data"] if names else []
    )


def input_lines(cfg: Config, dataset: ETraMDataset) -> list[str]:
    """Shape of a frame, representation, clips and lanes.

    Args:
        cfg: config of the training.
        dataset: the training data.
    """
    sequence = dataset.sequences[0]
    loader = cfg.train_dataloader
    shape = f"{sequence.channels} x {sequence.hw[0]} x {sequence.hw[1]}"
    step_us = frame_step_us(dataset)
    every = f" every {step_us / 1000:g} ms" if step_us else ""
    line = (
        f"{shape} ({dataset.representation['type']}, {dataset.window_us / 1000:g} ms, "
        f"{sequence.scale} sensor px per px), clips of {dataset.clip_length} frames{every}, "
        f"{loader.batch_size} lanes"
    )
    return [line, *other_steps(dataset, step_us)]


def other_steps(dataset: ETraMDataset, step_us: int | None) -> list[str]:
    """A warning if some recordings have another time between frames than a stream will use.

    Args:
        dataset: the training data.
        step_us: time between frames that a stream will use, in microseconds.
    """
    steps_us = {s.name: s.step_us for s in dataset.sequences if s.num_frames > 1}
    others = [
        f"{name} {step / 1000:.4g}"
        for name, step in steps_us.items()
        if abs(step - step_us) > JITTER_US
    ]
    if not others:
        return []
    listed = ", ".join(others[:3]) + (f", and {len(others) - 3} more" if len(others) > 3 else "")
    return [
        f"WARNING some recordings have another time between frames (ms): {listed}; streams use "
        f"{step_us / 1000:g} ms"
    ]
