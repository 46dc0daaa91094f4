"""What the values of a checkpoint must be, so that PyTorch and mmengine may take them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from etram_mmdet.events.limits import MAX_SIDE_PX

MAX_STEP = 2**40
MAX_DURATION_US = 1_000_000_000
MAX_TEXT = 200
MAX_PATH = 4096

Holds = Callable[[object], bool]


class Check(NamedTuple):
    """What a value must be.

    Attributes:
        expected: its name in messages.
        holds: function that says whether a value is such.
    """

    expected: str
    holds: Holds


def _list_of(holds: Holds) -> Holds:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _sequence_of(holds: Holds) -> Holds:
    return lambda value: isinstance(value, list | tuple) and all(map(holds, value))


def _dict_of(is_key: Holds, holds: Holds) -> Holds:
    return lambda value: (
        isinstance(value, dict) and all(is_key(key) and holds(item) for key, item in value.items())
    )


def _any_key(_key: object) -> bool:
    return True


def _is_step(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_STEP


def _is_duration(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_DURATION_US


def _is_seed(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_SIDE_PX


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_finite(value: object) -> bool:
    return _is_number(value) and math.isfinite(value)


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_json(value: object) -> bool:
    return type(value) is str


def _is_text(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT


def _is_path(value: object) -> bool:
    """Whether it is the path of a checkpoint.

    The first version wrote whole paths, which are as long as folders are deep.
    """
    return type(value) is str and len(value) <= MAX_PATH


def _is_sensor(value: object) -> bool:
    return _list_of(_is_side)(value) and len(value) == 2


def _is_span(value: object) -> bool:
    return _sequence_of(_is_finite)(value) and len(value) == 2


def _is_tensor(value: object) -> bool:
    """Whether it is a tensor whose numbers are all in the file, so that a copy is no larger."""
    return (
        isinstance(value, Tensor)
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _is_row(value: object) -> bool:
    return _is_tensor(value) and value.dim() == 1


def _is_word(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str)


def _is_setting(value: object) -> bool:
    """A number, a word, a flag, nothing, or a list of such."""
    return _is_word(value) or _sequence_of(_is_word)(value)


_is_settings = _dict_of(_is_text, _is_setting)


def _is_metainfo(value: object) -> bool:
    """Class names and their colours."""
    return (
        isinstance(value, dict)
        and set(value) <= {"classes", "palette"}
        and _sequence_of(_is_text)(value.get("classes", ()))
        and _sequence_of(_sequence_of(_is_word))(value.get("palette", ()))
    )


def _is_history(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"values", "counts", "max_length"}:
        return False
    if not (_is_row(value["values"]) and _is_row(value["counts"])):
        return False
    return (
        len(value["values"]) == len(value["counts"])
        and _is_step(value["max_length"])
        and value["max_length"] > 0
    )


def _is_histories(value: object) -> bool:
    """Logged numbers by name, each with memory of its own, so that a copy of all is no larger."""
    if not _dict_of(_is_text, _is_history)(value):
        return False
    places = [
        item[part].data_ptr()
        for item in value.values()
        for part in ("values", "counts")
        if len(item[part])
    ]
    return len(places) == len(set(places))


def _is_moment(value: object) -> bool:
    return _is_tensor(value) or _is_setting(value)


def _is_param_group(value: object) -> bool:
    return _is_settings(value) and _list_of(_is_step)(value.get("params"))


def _is_base_setting(value: object) -> bool:
    return _is_moment(value) or _list_of(_is_tensor)(value)


def _is_scheduler_value(value: object) -> bool:
    """A setting, a list of settings, or the milestones of ``MultiStepLR``."""
    return (
        _is_setting(value) or _dict_of(_is_step, _is_step)(value) or _list_of(_is_settings)(value)
    )


def _is_map(value: object) -> bool:
    """Whether it is a map (1, C, H, W) of one stage."""
    return _is_tensor(value) and value.dim() == 4 and len(value) == 1 and value.is_floating_point()


def _is_own_state(value: object) -> bool:
    """Whether it holds lanes, buffers and gradients of a process, and nothing else."""
    return (
        isinstance(value, dict)
        and set(value) == {"lanes", "buffers", "gradients"}
        and _dict_of(_is_step, _sequence_of(_sequence_of(_is_map)))(value["lanes"])
        and TENSORS.holds(value["buffers"])
        and TENSORS.holds(value["gradients"])
    )


STEP = Check("step", _is_step)
STEPS = Check("steps", _list_of(_is_step))
DURATION = Check("duration", _is_duration)
SENSOR = Check("sensor", _is_sensor)
SEED = Check("seed", _is_seed)
NUMBER = Check("number", _is_number)
SPANS = Check("spans", _dict_of(_is_text, _is_span))
TEXT = Check("text", _is_text)
PATH = Check("path", _is_path)
JSON = Check("json", _is_json)
TENSORS = Check("tensors", _dict_of(_is_text, _is_tensor))
SETTINGS = Check("settings", _is_settings)
METAINFO = Check("metainfo", _is_metainfo)
HISTORIES = Check("histories", _is_histories)
FLAGS = Check("flags", _dict_of(_is_text, _is_flag))
# for each parameter, by number, its moments and step count
OPTIMIZER_STATE = Check("optimizer state", _dict_of(_is_step, _dict_of(_any_key, _is_moment)))
PARAM_GROUPS = Check("param groups", _list_of(_is_param_group))
BASE_SETTINGS = Check("base settings", _dict_of(_any_key, _is_base_setting))
SCHEDULERS = Check("schedulers", _list_of(_dict_of(_any_key, _is_scheduler_value)))
OWN_STATES = Check("own states", _list_of(_is_own_state))
