"""mmengine's runner with checkpoints that carry their config, load strictly and execute nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from mmdet.registry import RUNNERS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from etram_mmdet.engine.checkpoints.contents import OWN_STATES_KEY
from etram_mmdet.engine.checkpoints.files import restore_histories
from etram_mmdet.engine.checkpoints.folder import checkpoint_file
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.other_classes import fit_classes
from etram_mmdet.engine.checkpoints.own_state import (
    check_own_states,
    gather_own_states,
    restore_own_state,
)
from etram_mmdet.engine.checkpoints.resumable import (
    check_complete,
    check_resumable,
    latest_checkpoint,
)
from etram_mmdet.engine.checkpoints.same_training import check_same_training
from etram_mmdet.engine.checkpoints.weights import check_all_weights, load_strictly
from etram_mmdet.engine.config.complete import check_together, resolve
from etram_mmdet.engine.config.epochs import (
    count_in_steps,
    counts_epochs,
    steps_of_epoch,
    training_data,
    with_dataset,
)
from etram_mmdet.engine.config.load import complete_config
from etram_mmdet.engine.config.missing_split import leave_out_validation
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.engine.runner.console import Console, go_on_without_log_file
from etram_mmdet.engine.runner.launchers import start_processes
from etram_mmdet.engine.runner.learning_rates import learning_rates
from etram_mmdet.engine.runner.monitored import check_monitored
from etram_mmdet.engine.runner.parameter_groups import check_names, check_own_rates, freeze
from etram_mmdet.engine.runner.rank_watch import watch_ranks, watched
from etram_mmdet.engine.runner.same_ranks import check_same_data, check_same_start
from etram_mmdet.engine.runner.signals import shield
from etram_mmdet.engine.runner.work_folder import (
    check_can_be_made,
    check_free,
    check_not_taken,
    log_folder,
    training_in,
)
from etram_mmdet.evaluation.stream_evaluator import StreamEvaluator
from etram_mmdet.models.building import build_detector
from etram_mmdet.models.detectors.one_stage import check_one_stage
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write, os_errors

_OF_BACKBONE = (
    "Begin with the config that the weights were trained with. A model with another neck or head, "
    "but the same backbone, can take the weights of the backbone: --cfg-options "
    "\"model.backbone.init_cfg=dict(type='Pretrained', checkpoint='{}', prefix='backbone.')\" "
    "without load_from"
)


@RUNNERS.register_module()
class StreamRunner(Runner):
    """mmengine's :class:`Runner` with checkpoints that carry their config and execute nothing.

    Attributes:
        notes: sentences about decisions at the start of a run.
        loaded: sentences about the weights that a training starts from.
    """

    notes: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()

    @classmethod
    def from_cfg(cls, cfg: Config) -> StreamRunner:
        device = get_device()
        _check_has_model(cfg)
        check_can_be_made(Path(cfg.work_dir))
        start_processes(cfg, device)
        with refused_settings(cfg):
            check_one_stage(cfg.get("model") or {})
            watch_ranks(cfg)
            notes, dataset = _completed(cfg, device)
        with watched(), refused_settings(cfg), os_errors(Path(cfg.work_dir), "written"):
            check_same_start(cfg)
            if cfg.get("train_cfg"):
                check_free(cfg.work_dir)
            runner = super().from_cfg(cfg)
        if dataset is not None:  # so that the training does not read it again
            runner._train_dataloader = with_dataset(runner._train_dataloader, dataset)
        runner.notes = tuple(notes)
        for note in notes:
            runner.logger.info(note)
        return runner

    def setup_env(self, env_cfg: dict) -> None:
        """mmengine's ``setup_env``, and a folder for the logs that no other run uses.

        Runs that start in the same second would otherwise share it.
        """
        super().setup_env(env_cfg)
        with os_errors(Path(self.work_dir) / self._timestamp, "written"):
            self._timestamp = log_folder(self.work_dir, self._timestamp)

    def train(self) -> nn.Module:
        """Train, alone in the work folder.

        Parts that mmengine would build first in its own ``train`` are built here.

        Raises:
            ClaimedError: another training is at work there.
            InputError: a part cannot be built with its settings; another process of this training
                has ended, or cannot be reached.
        """
        if self._train_loop is None:
            raise InputError(
                "the config has no train_cfg, train_dataloader and optim_wrapper; a training needs "
                "all of them"
            )
        with training_in(self.work_dir) as release, watched(release):
            with refused_settings(self.cfg):
                self._build_training()
            return super().train()

    def _build_training(self) -> None:
        self._train_loop = self.build_train_loop(self._train_loop)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        if self._val_loop is not None:
            self._val_loop = self.build_val_loop(self._val_loop)
            check_monitored(self)

    def test(self) -> dict[str, float]:
        """Evaluate on the test data.

        Raises:
            InputError: a part cannot be built with its settings; another process of this run cannot
                be reached.
        """
        if self._test_loop is None:
            raise InputError(
                "the config has no test_cfg, test_dataloader and test_evaluator; a test needs all "
                "of them"
            )
        with watched():
            with refused_settings(self.cfg):
                self._test_loop = self.build_test_loop(self._test_loop)
            return super().test()

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """mmengine's ``call_hook``, which opens the console at the first step of a run."""
        super().call_hook(fn_name, **kwargs)
        if fn_name in ("before_train", "before_val", "before_test"):
            self.console.is_open = True

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """The given model, or the one of the run's config; frozen parameters are marked."""
        built = super().build_model(build_detector(self.cfg) if isinstance(model, dict) else model)
        if isinstance(self.optim_wrapper, dict):
            freeze(self.optim_wrapper, built)
        return built

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """mmengine's method, which refuses a ``paramwise_cfg`` or constructor of another model.

        Raises:
            InputError: the settings name parameters or layers that the model does not have.
        """
        if isinstance(optim_wrapper, dict):
            check_names(optim_wrapper, self.model)
        try:
            return super().build_optim_wrapper(optim_wrapper)
        # mmdet's layer-wise decay, which counts the layers of ConvNeXt
        except NotImplementedError as error:
            raise InputError(
                f"optim_wrapper.constructor={optim_wrapper['constructor']} does not know the "
                "layers of this backbone; leave it out and set lr_mult by name in "
                "optim_wrapper.paramwise_cfg.custom_keys"
            ) from error

    def build_param_scheduler(self, scheduler: list | dict) -> list:
        """mmengine's method, which refuses schedules that ignore the rates of parameter groups.

        Raises:
            InputError: see :func:`check_own_rates`.
        """
        groups = self.optim_wrapper.optimizer.param_groups
        own = [group["lr"] for group in groups]
        is_fresh = not any("initial_lr" in group for group in groups)
        built = super().build_param_scheduler(scheduler)
        if is_fresh and len(set(own)) > 1:
            check_own_rates(
                own, learning_rates(self.optim_wrapper.optimizer, built, self.train_loop.max_iters)
            )
        return built

    def build_evaluator(self, evaluator: Evaluator | dict | list) -> Evaluator:
        """Metrics in a :class:`StreamEvaluator`, unless the config names another evaluator."""
        is_named = isinstance(evaluator, Evaluator) or (
            isinstance(evaluator, dict) and "metrics" in evaluator
        )
        return super().build_evaluator(evaluator) if is_named else StreamEvaluator(evaluator)

    @staticmethod
    def build_dataloader(*args, **kwargs) -> DataLoader:
        """mmengine's loader, whose processes ignore the signal that ends a training.

        The last step of the training still needs them.
        """
        return shield(Runner.build_dataloader(*args, **kwargs))

    @torch.no_grad()
    def try_first_batch(self) -> None:
        """Run one batch through test data, model and post-processing; nothing is kept.

        Errors of the parts are passed on.
        """
        self.model.eval()
        self.model.test_step(next(iter(self.test_loop.dataloader)))

    def dump_config(self) -> None:
        """Do nothing: mmengine calls it before it is known whether the run may start.

        :meth:`load_or_resume` dumps the config.
        """

    def load_or_resume(self) -> None:
        """Load or resume, and write the config of a training next to its checkpoints.

        A test does not replace that config.

        Raises:
            InputError: ``resume`` without a checkpoint, with which mmengine would start from
                scratch.
        """
        loops = dict(train=self._train_loop, val=self._val_loop, test=self._test_loop)
        check_same_data(
            {
                name: loop.dataloader.dataset
                for name, loop in loops.items()
                if isinstance(loop, BaseLoop)
            }
        )
        if self._load_from is not None:
            self._load_from = str(checkpoint_file(self._load_from))
        elif self._resume:
            found = [latest_checkpoint(self.work_dir)]
            # a network drive may show a newer one to one process first
            broadcast_object_list(found)
            self._load_from = found[0]
        super().load_or_resume()
        if self.cfg.get("train_cfg"):
            with os_errors(Path(self.work_dir), "written"):
                super().dump_config()

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """mmengine's logger behind a :class:`Console`.

        If the log file cannot be written, one warning is printed and the training goes on.
        """
        logger = super().build_logger(*args, **kwargs)
        self.console = Console()
        self.console.attach(logger)
        go_on_without_log_file(logger)
        return logger

    def resume(self, filename: str, *args, **kwargs) -> None:
        """mmengine's ``resume``, which refuses a checkpoint of another training.

        Raises:
            InputError: the checkpoint does not fit the run.
        """
        content = load_checkpoint_file(filename)
        check_complete(content, filename)
        check_same_training(content, self, filename)
        check_resumable(content, self, filename)
        own_states = content.get(OWN_STATES_KEY)
        check_own_states(own_states, self.model, filename)
        super().resume(filename, *args, **kwargs)
        restore_own_state(self, own_states, filename)

    def load_checkpoint(
        self, filename: str, map_location: str = "cpu", strict: bool = True, revise_keys=None
    ) -> dict:
        """Load weights if all of them fit; otherwise load nothing.

        Raises:
            InputError: weights do not fit; the message names the first.
        """
        checkpoint = load_checkpoint_file(filename)
        notes = fit_classes(checkpoint, self.model, self.cfg, filename)
        advice = _OF_BACKBONE.format(filename) if self.cfg.get("train_cfg") else None
        check_all_weights(self.model, checkpoint, filename, advice)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        load_strictly(self.model, checkpoint["state_dict"], filename)
        restore_histories(checkpoint)
        if not self.cfg.get("train_cfg"):  # a test belongs to the run that trained these weights
            logged = checkpoint.get("message_hub", {}).get("runtime_info", {})
            self.message_hub.update_info("run", logged.get("run", ""))
        self._has_loaded = True
        self.loaded = tuple(notes) or (f"from {filename}",)
        for line in (f"Loaded {filename}", *notes):
            self.logger.info(line)
        return checkpoint

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        *args,
        save_optimizer: bool = True,
        meta: dict | None = None,
        **kwargs,
    ) -> None:
        """Write a whole checkpoint or none, see :func:`atomic_write`.

        Every process has to call it: a checkpoint to resume from (with its optimizer) holds the
        state of each process.

        Raises:
            ClaimedError: another training is at work in the folder.
        """
        own = {OWN_STATES_KEY: gather_own_states(self)} if save_optimizer else {}
        if is_main_process():
            check_not_taken(self.work_dir)
            # PlainCheckpointHook takes it out
            kwargs.update(save_optimizer=save_optimizer, meta=(meta or {}) | own)
            with atomic_write(Path(out_dir) / filename) as aside:
                super().save_checkpoint(out_dir, aside.name, *args, **kwargs)


def _completed(cfg: Config, device: str) -> tuple[list[str], Dataset | None]:
    """Complete a config, in place.

    Returns:
        Sentences about what was decided, and the training data if they had to be read for it.
    """
    check_together(cfg)
    complete_config(cfg)
    left_out = leave_out_validation(cfg)
    dataset = None
    if counts_epochs(cfg.get("train_cfg") or {}):
        dataset = training_data(cfg)
        count_in_steps(cfg, steps_of_epoch(cfg, dataset))
    return [*left_out, *resolve(cfg, device)], dataset


def _check_has_model(cfg: Config) -> None:
    if not isinstance(cfg.get("model"), dict):
        raise InputError(
            f"{cfg.filename or 'the config'}: has no model; begin with _base_ = 'CONFIG'"
        )
