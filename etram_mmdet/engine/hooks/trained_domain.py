"""Store the range of the training data in checkpoints, and warn before tests outside of it."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from etram_mmdet.datasets.domain import domain_of, frames_shown
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.checkpoints.contents import DOMAIN_KEY
from etram_mmdet.events.domain import outside, sides_of


@HOOKS.register_module()
class TrainedDomainHook(Hook):
    """Stores :func:`domain_of` the training data in checkpoints, and compares test data with it.

    A test of data outside of that range begins with a warning. Sizes of boxes and events per pixel
    are compared. A checkpoint of an earlier version does not hold the range; nothing is compared
    then.
    """

    priority = "VERY_LOW"  # before PlainCheckpointHook, which is the last to see a checkpoint

    def __init__(self) -> None:
        self.trained_on: dict[str, list[float]] = {}

    def before_train(self, runner: Runner) -> None:
        train = as_streams(runner.train_dataloader.dataset)
        self.trained_on = domain_of(train) if isinstance(train, ETraMDataset) else {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["meta"][DOMAIN_KEY] = self.trained_on

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.trained_on = checkpoint.get("meta", {}).get(DOMAIN_KEY, {})

    def before_test(self, runner: Runner) -> None:
        dataset = as_streams(runner.test_dataloader.dataset)
        if not self.trained_on or not isinstance(dataset, ETraMDataset):
            return
        sides_px = sides_of(dataset.box_statistics().sizes_px)
        for sentence in outside(self.trained_on, sides_px, frames_shown(dataset)):
            runner.logger.warning(f"{dataset.folder}: {sentence}")
