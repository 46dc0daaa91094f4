"""Which keys a dict of a config may hold: the parameters of what will be called with it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain

from mmcv.ops import nms, soft_nms
from mmengine.dist import init_dist
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseInit
from mmengine.optim import BaseOptimWrapper, OptimWrapper, _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed import init_process_group
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from etram_mmdet.engine.config.signatures import is_class_name, parameters, registered

# Variables of the base configs that the three dataset entries share.
SHARED = ("data_root", "class_set", "representation", "window_us")
# Dicts that need no type, by where they stand: what is called with them, keys that are read otherwise, and `...` where
# there may be more.
_UNTYPED = {
    "": (
        *(Runner, "runner_type", "custom_imports", "base_lr", *SHARED),
        *("model_wrapper_cfg", "sync_bn", "find_unused_parameters"),
        *("compile", "activation_checkpointing", "efficient_conv_bn_eval"),
    ),
    "randomness": (Runner.set_randomness,),
    "env_cfg": ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"),
    "env_cfg.mp_cfg": (set_multi_processing,),
    "env_cfg.dist_cfg": (init_dist, init_process_group),
    "auto_scale_lr": ("enable", "base_batch_size"),
    "train_cfg": (EpochBasedTrainLoop, IterBasedTrainLoop, "by_epoch"),
    "val_cfg": (ValLoop,),
    "test_cfg": (TestLoop,),
    "*_dataloader": (DataLoader, "num_batch_per_epoch", "disable_subprocess_warning"),
    "*_evaluator": (Evaluator,),
    "log_processor": (LogProcessor,),
    "default_hooks": ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint", ...),
    "optim_wrapper": (OptimWrapper, "constructor", "paramwise_cfg", ...),
    "*.clip_grad": (clip_grad_norm_, clip_grad_value_),
    "*.paramwise_cfg": (
        *("custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult"),
        *("dwconv_decay_mult", "dcn_offset_lr_mult", "bypass_duplicate", ...),
    ),
    "model.train_cfg": ("assigner", "sampler", "allowed_border", "pos_weight", "debug", "rpn", "rpn_proposal", "rcnn"),
    "model.test_cfg": (
        *("score_thr", "nms_pre", "nms", "min_bbox_size", "max_per_img", "operating_points", "rpn", "rcnn"),
    ),
    "model.test_cfg*nms": (nms, soft_nms, "class_agnostic", "split_thr"),
}
# A config file may define variables of its own, and keys that its own head looks up; an option has to lead somewhere.
_FREE_IN_FILES = ("", "model.train_cfg", "model.test_cfg")
# What mmengine takes out of a dict before it builds one of these.
_TAKEN_OUT = {
    Hook: ("priority",),
    _ParamScheduler: ("convert_to_iter_based",),
    BaseOptimWrapper: ("constructor", "paramwise_cfg"),
    BaseInit: ("override", "name"),
}
_EVERYWHERE = {"type", "_scope_", "_delete_"}


@dataclass(frozen=True)
class KnownKeys:
    """The keys that ``owner`` takes; where it ``takes_more``, any that does not look like one of these misspelt."""

    owner: str
    names: frozenset[str]
    takes_more: bool

    def __str__(self) -> str:
        return f"{self.owner} takes {', '.join([*sorted(self.names), *(['...'] if self.takes_more else [])])}"

    def refuses(self, key: str) -> bool:
        if key in self.names | _EVERYWHERE:
            return False
        if not self.takes_more:
            return True
        cutoff = 0.8 if len(key) < 7 else 0.85  # one wrong letter weighs more in a short word
        alike = difflib.get_close_matches(key, self.names, 1, cutoff)
        return not key.startswith("_") and any(abs(len(name) - len(key)) <= 2 for name in alike)


def known_keys(node: dict, path: str, is_option: bool) -> KnownKeys | None:
    """What the dict at ``path`` (dotted) may hold; ``None`` where that cannot be known.

    ``is_option``: judge as strictly as the command line is judged, where variables of a user's own make no sense.
    """
    called = registered(node.get("type"))
    if called:
        taken_out = [names for base, names in _TAKEN_OUT.items() if any(_is_a(item, base) for item in called)]
        return _known(str(node["type"]), *called, *chain.from_iterable(taken_out))
    entry = next((entry for place, entry in _UNTYPED.items() if fnmatchcase(path, place)), None)
    if entry is None or is_class_name(node.get("type")):
        return None
    is_free = path in _FREE_IN_FILES and not is_option
    top = "The top level (a variable of your own may start with _)" if is_free else "The top level"
    return _known(path or top, *entry, *([...] if is_free else []))


def _known(owner: str, *sources: object) -> KnownKeys:
    """From what is called, further names, and ``...``."""
    called = [parameters(source) for source in sources if callable(source)]
    names = {source for source in sources if isinstance(source, str)}.union(*(names for names, _ in called))
    return KnownKeys(owner, frozenset(names), ... in sources or any(more for _, more in called))


def _is_a(called: object, base: type) -> bool:
    return isinstance(called, type) and issubclass(called, base)
