"""Refuse keys and options of a config that have no effect or a wrong type.

A dict with a registered ``type`` may hold the parameters of that class's constructor. With
``**kwargs`` these are the parameters of its base classes too, and any further key passes that does
not look like one of them misspelt. Values are compared with the annotation of the parameter if this
project, mmengine or torch wrote it, see ``values.py``. Keys of the dicts without a type are listed
in ``_UNTYPED``; ``model.train_cfg`` and ``model.test_cfg`` may hold the keys that the head reads. A
key at the top level of a file that nothing reads is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from mmcv.ops import nms, soft_nms
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseInit
from mmengine.optim import BaseOptimWrapper, OptimWrapper, _ParamScheduler
from mmengine.runner import (
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
    set_random_seed,
)
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.distributed import init_process_group
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from etram_mmdet.datasets.shared_keys import SHARED
from etram_mmdet.engine.config.constructors import (
    ANYTHING,
    TABLES,
    Types,
    default_of,
    is_class_name,
    parameters,
    registered,
)
from etram_mmdet.engine.config.head_settings import settings_taken
from etram_mmdet.engine.config.values import as_whole, why_refused
from etram_mmdet.engine.config.variables import unused_variables
from etram_mmdet.utils.errors import InputError

_TOP = (
    "runner_type custom_imports base_lr model_wrapper_cfg sync_bn find_unused_parameters compile "
    "activation_checkpointing efficient_conv_bn_eval tta_model tta_pipeline log_level "
    "allow_other_classes"
)
_PARAMWISE = (
    "custom_keys bias_lr_mult bias_decay_mult norm_decay_mult flat_decay_mult dwconv_decay_mult "
    "dcn_offset_lr_mult bypass_duplicate"
)
_HOOKS = "runtime_info timer sampler_seed logger param_scheduler checkpoint visualization"
_TRAIN_CFG = "assigner sampler allowed_border pos_weight debug"
_TEST_CFG = "score_thr nms_pre nms min_bbox_size max_per_img operating_points"
# By place: what is called with the dict, keys that are read otherwise, `...` if there may be more.
_UNTYPED = {
    "": (Runner, _TOP, *SHARED),
    "randomness": (set_random_seed,),
    "env_cfg": ("cudnn_benchmark mp_cfg dist_cfg resource_limit rank_timeout_s",),
    "env_cfg.mp_cfg": (set_multi_processing,),
    "env_cfg.dist_cfg": (init_dist, init_process_group),
    "auto_scale_lr": ("enable base_batch_size",),
    "train_cfg": (IterBasedTrainLoop, "by_epoch max_epochs"),
    "val_cfg": (ValLoop,),
    "test_cfg": (TestLoop,),
    "*_dataloader": (DataLoader, "num_batch_per_epoch disable_subprocess_warning"),
    "*_evaluator": (Evaluator,),
    "log_processor": (LogProcessor,),
    "default_hooks": (_HOOKS, ...),
    "optim_wrapper": (OptimWrapper, "constructor paramwise_cfg", ...),
    "*.clip_grad": (clip_grad_norm_, clip_grad_value_),
    "*.paramwise_cfg": (_PARAMWISE, ...),
    "*.paramwise_cfg.custom_keys.*": ("lr_mult decay_mult", ...),  # and settings of the optimizer
    "model.train_cfg": (_TRAIN_CFG,),  # of an unknown head
    "model.test_cfg": (_TEST_CFG,),
    "model.test_cfg*nms": (nms, soft_nms, "class_agnostic split_thr"),
    "tta_model.tta_cfg": ("nms max_per_img",),
    "tta_model.tta_cfg.nms": (nms, soft_nms, "class_agnostic split_thr"),
}
# Types of keys that have no annotation.
_KINDS = {
    key: kind
    for kind, keys in {
        "float": "base_lr allowed_border pos_weight score_thr min_bbox_size iou_threshold "
        "split_thr lr_mult decay_mult rank_timeout_s",
        "int": "base_batch_size nms_pre max_per_img max_epochs num_batch_per_epoch resource_limit",
        "bool": "enable find_unused_parameters cudnn_benchmark by_epoch debug class_agnostic "
        "bypass_duplicate allow_other_classes",
        "str": "runner_type sync_bn constructor",
        "int | str": "log_level priority",
        "dict": f"{_HOOKS} custom_imports model_wrapper_cfg tta_model mp_cfg dist_cfg custom_keys "
        "paramwise_cfg nms assigner",
        "dict | list": "model train_dataloader val_dataloader test_dataloader train_cfg val_cfg "
        "test_cfg optim_wrapper param_scheduler val_evaluator test_evaluator default_hooks "
        "auto_scale_lr env_cfg log_processor visualizer randomness data_preprocessor",
        "list": "custom_hooks",
    }.items()
    for key in keys.split()
}
_OF_HEAD = ("model.train_cfg", "model.test_cfg")  # the detector hands them to the head
# What mmengine takes out of a dict before it builds one of these.
_TAKEN_OUT = {
    Hook: "priority",
    _ParamScheduler: "convert_to_iter_based",
    BaseOptimWrapper: "constructor paramwise_cfg",
    BaseInit: "override name",
}
# Parameters of classes that are filled in from the rest of the config if they are None.
_FILLED_IN = {
    *SHARED,
    *"in_channels out_channels num_outs num_classes strides partition_size lr eta_max".split(),
}
_EVERYWHERE = {"type", "_scope_", "_delete_"}
_INSTEAD = {"metainfo": ["class_set"]}
_SHOWN = 5


@dataclass(frozen=True)
class Keys:
    """Keys that ``owner`` takes, with the types of their values.

    ``takes_more`` is whether further keys pass. ``elsewhere`` holds keys that do not belong here,
    each with the place where it belongs.
    """

    owner: str
    types: dict[str, Types]
    takes_more: bool
    elsewhere: dict[str, str] = field(default_factory=dict)
    is_class: bool = False

    def __str__(self) -> str:
        return f"{self.owner} takes {', '.join(sorted(self.types) + ['...'] * self.takes_more)}"

    def may_be_open(self, key: str) -> bool:
        """Whether ``None`` means that a key is left out; a constructor gets ``None`` as a value."""
        return not self.is_class or key in _FILLED_IN

    def refuses(self, key: str) -> bool:
        if key in self.types or key in _EVERYWHERE:
            return False
        if not self.takes_more or key in self.elsewhere:
            return True
        cutoff = 0.8 if len(key) < 7 else 0.85  # one wrong letter weighs more in a short word
        alike = get_close_matches(key, self.types, 1, cutoff)
        return not key.startswith("_") and any(abs(len(name) - len(key)) <= 2 for name in alike)


def known_keys(
    node: dict, path: str, is_file: bool = False, head: type | None = None
) -> Keys | None:
    """Keys that a dict of a config may hold; ``None`` if that cannot be known.

    Args:
        node: the dict.
        path: its dotted place in the config.
        is_file: whether the dict comes from a file, where keys pass that only a user's own head
            reads. An option of the command line may not set such keys. Default: no.
        head: class of ``model.bbox_head``, which reads ``model.train_cfg`` and ``model.test_cfg``.
            Default: not known.
    """
    if path in _OF_HEAD and head is not None:
        taken, takes_more = settings_taken(head, path.split(".")[1], is_file)
        return Keys(f"{path} under {head.__name__}", _untyped(taken), takes_more)
    called = registered(node.get("type"))
    sources = next((entry for place, entry in _UNTYPED.items() if fnmatchcase(path, place)), ())
    if called:
        classes = [c for c in called if isinstance(c, type)]
        bases = [base for base in _TAKEN_OUT if any(issubclass(c, base) for c in classes)]
        sources = (*called, *(_TAKEN_OUT[base] for base in bases))
    elif not sources or is_class_name(node.get("type")):
        return None
    types: dict[str, Types] = {}
    takes_more = ... in sources or (is_file and path in _OF_HEAD)
    for source in sources:
        theirs = _untyped(source.split()) if isinstance(source, str) else {}
        if callable(source):
            theirs, more = parameters(source)
            takes_more |= more
        types |= {name: types.get(name, ()) + accepted for name, accepted in theirs.items()}
    elsewhere = (
        {place.split(".")[1]: place for place in _OF_HEAD} if path == "model.bbox_head" else {}
    )
    types = {name: accepted for name, accepted in types.items() if name not in elsewhere}
    owner = path or "The top level (besides variables that the file itself uses)"
    return Keys(str(node["type"]) if called else owner, types, takes_more, elsewhere, bool(called))


def use_whole_numbers(cfg: Config) -> None:
    """Turn numbers such as 1e3 into 1000, in place, if their key takes whole numbers only.

    Args:
        cfg: a config.
    """
    for path, found in _dicts(dict(cfg.items())):
        node = found if path else cfg
        known = known_keys(found, path)
        for key in known.types if known else ():
            if isinstance(node.get(key), float | list | tuple):
                node[key] = as_whole(node[key], known.types[key])


def _untyped(names: Iterable[str]) -> dict[str, Types]:
    return {name: (_KINDS.get(name, *ANYTHING),) for name in names}


def check_keys(cfg: Config, source: str | Path) -> None:
    """Refuse a config with keys or values that have no effect or a wrong type.

    Args:
        cfg: the config as it was read.
        source: its file, for messages.

    Raises:
        InputError: a key is unknown, or a value does not fit it.
    """
    unused = unused_variables(cfg.filename) if cfg.filename else set(cfg)
    _refuse(str(source), _problems(cfg.to_dict(), unused))


def drop_variables(cfg: Config) -> None:
    """Remove the variables of a config file, in place: its other keys already hold their values.

    Args:
        cfg: a config.
    """
    known = known_keys(cfg.to_dict(), "")
    for key in [key for key in cfg if known.refuses(key)]:
        cfg.pop(key)


def check_options(cfg: Config, options: dict) -> None:
    """Refuse ``--cfg-options`` that have no effect or a wrong type.

    Keys are checked against the classes of the merged config. Faults that ``cfg`` already has pass;
    but a variable of its file must not be set, because the file has already used it.

    Args:
        cfg: a config, not yet merged with ``options``.
        options: values by dotted key.

    Raises:
        InputError: an option is unknown, or its value does not fit.
    """
    merged = copy.copy(cfg)
    for option, value in options.items():
        try:
            merged.merge_from_dict({option: copy.deepcopy(value)})
        except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
            if isinstance(value, dict):
                raise InputError(
                    f"--cfg-options {option}={value!r:.80}: the config holds no dict at {option}, "
                    "so this one cannot be merged into it; set its keys one by one "
                    f"({option}.KEY=VALUE), or write it into a config file with _delete_=True"
                ) from error
            raise InputError(
                f"--cfg-options {option}: leads through a value that has no keys; set that value "
                "as a whole. In a list, give the number of an entry and a key of it, such as "
                "param_scheduler.0.KEY"
            ) from error
    said = {option.split(".")[0] for option in options}
    held = {p: why for p, why in _problems(cfg.to_dict()).items() if p not in said}
    found = _problems(merged.to_dict())
    _refuse("--cfg-options", {p: why for p, why in found.items() if held.get(p) != why})


def _problems(cfg: dict, unused: set[str] | None = None) -> dict[str, tuple[str, str]]:
    """Faults of a config by path, and for an unknown key the keys that may be meant.

    Args:
        cfg: a config.
        unused: names at the top level of a file that nothing reads. Without them every unknown name
            there is wrong: an option has to lead somewhere.
    """
    is_file = unused is not None
    head = _head(cfg)
    levels = [(path, node, known_keys(node, path, is_file, head)) for path, node in _dicts(cfg)]
    levels = [(path, node, known) for path, node, known in levels if known]
    wrong = {}
    for path, node, known in levels:
        for key in map(str, node):
            at_fault = path or not is_file or key in unused
            if known.refuses(key) and at_fault:
                near = [_join(path, name) for name in get_close_matches(key, known.types, 1, 0.7)]
                elsewhere = [_join(other, key) for other, _, there in levels if key in there.types]
                near = [known.elsewhere[key]] if key in known.elsewhere else near
                meant = near or _INSTEAD.get(key, []) + elsewhere[:3]
                wrong[_join(path, key)] = _did_you_mean(meant), str(known)
            elif known.is_class and (default := _dict_without_type(node, key)):
                wrong[_join(path, key)] = (
                    f" has no type; the default of {node['type']} is {default}, so write the whole "
                    "dict",
                    "",
                )
            elif node.get(key) is None and known.may_be_open(key):
                continue
            elif why := why_refused(key, node.get(key), known.types.get(key, ANYTHING)):
                wrong[_join(path, key)] = f" {why}", ""
    return wrong | _unknown_types(cfg) | _no_types(cfg)


def _dict_without_type(node: dict, key: str) -> dict | None:
    """The dict that a class has by default under a key, if ``node`` has one without type there."""
    given = node.get(key)
    if not isinstance(given, dict) or not given or {"type", *_EVERYWHERE} & {*given}:
        return None
    default = default_of(registered(node["type"])[0], key)
    return default if isinstance(default, dict) and "type" in default else None


def _no_types(cfg: dict) -> dict[str, tuple[str, str]]:
    """Types that are neither a name nor a class or function."""
    kinds = {_join(path, "type"): node["type"] for path, node in _dicts(cfg) if "type" in node}
    wrong = {
        path: kind
        for path, kind in kinds.items()
        if not isinstance(kind, str) and not callable(kind)
    }
    return {
        path: (f" is {kind!r:.80}, expected the name of a class", "")
        for path, kind in wrong.items()
    }


def _head(cfg: dict) -> type | None:
    """Class of ``model.bbox_head``; none if it is unknown or ambiguous."""
    model = cfg.get("model")
    head = model.get("bbox_head") if isinstance(model, dict) else None
    found = registered(head.get("type")) if isinstance(head, dict) else []
    return (
        found[0]
        if len(found) == 1 and isinstance(found[0], type) and issubclass(found[0], nn.Module)
        else None
    )


def _unknown_types(cfg: dict) -> dict[str, tuple[str, str]]:
    """Types that nearly name a registered class; other types are left to their builders."""
    kinds = {_join(path, "type"): node.get("type") for path, node in _dicts(cfg)}
    unknown = {p: kind for p, kind in kinds.items() if is_class_name(kind) and not registered(kind)}
    near = {p: get_close_matches(k, set().union(*TABLES), 1, 0.8) for p, k in unknown.items()}
    return {path: (_did_you_mean(names), "") for path, names in near.items() if names}


def _did_you_mean(names: list[str]) -> str:
    return f": did you mean {' or '.join(names)}?" if names else ""


def _dicts(node: object, path: str = "") -> Iterator[tuple[str, dict]]:
    """Every dict of a config and its dotted path."""
    if isinstance(node, dict):
        yield path, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(child, dict | list | tuple):
            yield from _dicts(child, _join(path, key))


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _refuse(source: str, wrong: dict[str, tuple[str, str]]) -> None:
    if not wrong:
        return
    shown = dict(islice(wrong.items(), _SHOWN))
    lines = [f"  {path}{why}" for path, (why, _) in shown.items()]
    lines += ["  ..."] if len(wrong) > _SHOWN else []
    lines += dict.fromkeys(takes for _, takes in shown.values() if takes)
    raise InputError("\n".join([f"{source}: unknown keys or wrong values", *lines]))
