"""Check that the head and all data sets of a run mean the same classes."""

from __future__ import annotations

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.utils.errors import InputError


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Refuses a run whose head and data sets count or name classes differently.

    The check runs before the first step. mmdet's ``NumClassCheckHook`` compares numbers only, and
    only while training.

    Raises:
        InputError: the classes differ; the message names the head or the data sets.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        train = as_streams(runner.train_dataloader.dataset)
        check_classes(runner.model, train)
        if runner.val_loop is not None:
            check_same_classes(train, as_streams(runner.val_dataloader.dataset))

    def before_val(self, runner: Runner) -> None:
        check_classes(runner.model, as_streams(runner.val_dataloader.dataset))

    def before_test(self, runner: Runner) -> None:
        check_classes(runner.model, as_streams(runner.test_dataloader.dataset))


def check_classes(model: nn.Module, dataset: Dataset) -> None:
    """Refuse a model whose head counts other classes than the data.

    Args:
        model: a detector, with or without the wrapper of several processes.
        dataset: the data.

    Raises:
        InputError: the numbers of classes differ.
    """
    head = (model.module if is_model_wrapper(model) else model).bbox_head
    classes = dataset.metainfo["classes"]
    if head.num_classes != len(classes):
        raise InputError(
            f"model.bbox_head.num_classes={head.num_classes}, but {dataset.folder} has "
            f"{len(classes)} classes: {', '.join(classes)}. Set num_classes={len(classes)} or "
            "another class_set"
        )


def check_same_classes(one: Dataset, other: Dataset) -> None:
    """Refuse two data sets of a run that name their classes differently.

    Args:
        one: a data set.
        other: the other data set.

    Raises:
        InputError: names or order of the classes differ.
    """
    if list(one.metainfo["classes"]) == list(other.metainfo["classes"]):
        return
    raise InputError(
        f"{one.folder} has the classes {', '.join(one.metainfo['classes'])}, but {other.folder} "
        f"has {', '.join(other.metainfo['classes'])}; a network knows classes by number only, so "
        "give all data sets of a config the same class_set and metainfo"
    )
