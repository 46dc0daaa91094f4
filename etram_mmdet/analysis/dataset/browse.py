"""The frames that a network gets in training or evaluation, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from mmdet.structures import TrackDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.models.building import build_detector
from etram_mmdet.utils.errors import InputError
from etram_mmdet.visualization.clip_sheet import Batch, SeenFrame

_OF_WORKERS = ("num_workers", "persistent_workers", "prefetch_factor")


def build_loader(cfg: Config, split: str) -> DataLoader:
    """Builds the config's loader of a split without its loading processes.

    The batches are those of training.

    Args:
        cfg: a complete config.
        split: ``train``, ``val`` or ``test``.

    Raises:
        InputError: the config has no loader for this split, or the data cannot be read.
    """
    loader = cfg.get(f"{split}_dataloader")
    if loader is None:
        raise InputError(
            f"the config has no {split}_dataloader; choose another --split, or add one"
        )
    init_default_scope(cfg.get("default_scope", "mmdet"))
    here = {key: value for key, value in loader.items() if key not in _OF_WORKERS}
    with refused_settings(cfg):
        return Runner.build_dataloader(here, seed=cfg.get("randomness", {}).get("seed"))


def seen_batches(cfg: Config, loader: DataLoader, count: int) -> Iterator[Batch]:
    """Yields the first batches as the model gets them, after its data preprocessor.

    Args:
        cfg: a complete config; its model decides to which size frames are padded.
        loader: loader of :func:`build_loader`.
        count: number of batches; fewer come if the data end before.

    Yields:
        A batch: for each lane a list of its frames, in time order.
    """
    with refused_settings(cfg):
        # The model knows to which size frames must be padded.
        preprocessor = build_detector(cfg).data_preprocessor
    shows = build_representation(as_streams(loader.dataset).representation, 2, 2)
    for data in islice(loader, count):
        batch = preprocessor(data)
        lanes = zip(batch["inputs"].unbind(1), batch["data_samples"], strict=True)
        yield [
            [_seen(t, image, clip, shows) for t, image in enumerate(images)]
            for images, clip in lanes
        ]


def _seen(t: int, image: Tensor, clip: TrackDataSample, shows: Representation) -> SeenFrame:
    sample = clip[t]
    return SeenFrame(
        off_on=shows.off_on(image.numpy()),
        boxes=Boxes(sample.gt_instances.bboxes.numpy(), sample.gt_instances.labels.numpy()),
        hw=sample.img_shape,
        recording=sample.recording,
        t_us=sample.t_us,
        lane=clip.lane,
        starts_clip=t == 0,
        is_first=sample.is_first,
        is_labelled=sample.is_labelled,
        is_padding=sample.is_padding,
        streamed=clip.streamed,
    )
