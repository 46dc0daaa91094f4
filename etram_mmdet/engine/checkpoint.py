"""Checkpoints that carry their config and execute nothing when read.

mmengine's loader falls back to full unpickling and keeps the config as Python text. Here a file is read with
``weights_only=True``, the config in it is JSON, and whatever builds from it may use registered names only.
"""

from __future__ import annotations

import collections
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from etram_mmdet.events.errors import InputError

CONFIG_KEY = "etram_mmdet_config"
# What may stand in a checkpoint beside tensors and plain containers; none of these runs code of a file.
_ALLOWED = [
    np.ndarray,
    np.dtype,
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    *(type(np.dtype(t)) for t in ("f4", "f8", "i4", "i8", "u1", "bool")),
    collections.OrderedDict,
    collections.defaultdict,
]


def load_checkpoint_file(path: str | Path, map_location: str = "cpu") -> dict:
    """Read a checkpoint without executing what it contains.

    Raises:
        InputError: when the file is missing, damaged, not a checkpoint or needs more than :data:`_ALLOWED`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        lines = str(error).splitlines()
        what = next((line for line in lines if "Unsupported" in line), lines[0]).split(". ")[0].strip()
        raise InputError(
            f"{path}: refused, because reading it needs more than tensors and plain values ({what}). "
            "A checkpoint of RVT or eTraM is converted with tools/convert_rvt.py"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({_first_line(error)}); copy it again") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise InputError(f"{path}: holds no state_dict, so it is not a checkpoint of this project")
    return checkpoint


def config_to_json(cfg: Config) -> str:
    """The config as data; tuples become lists."""
    return json.dumps(cfg.to_dict(), default=str)


def stored_config(checkpoint: dict, path: str | Path) -> dict:
    """The config that a checkpoint carries, as plain data to compare with; nothing may be built from it.

    Raises:
        InputError: when the checkpoint carries no readable config.
    """
    text = checkpoint.get("meta", {}).get(CONFIG_KEY)
    if text is None:
        raise InputError(f"{path}: carries no config; give one: tools/test.py CONFIG {path}")
    try:
        config = json.loads(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: carries a config that is not JSON ({error}); copy the file again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise InputError(f"{path}: carries a config without a model; give one: tools/test.py CONFIG {path}")
    return config


def save_atomically(checkpoint: dict, path: str | Path) -> None:
    """Write next to ``path`` and rename, so that a killed process leaves the old file or the new one."""
    part = Path(f"{path}.part")
    torch.save(checkpoint, part)
    os.replace(part, path)


def make_plain(checkpoint: dict, cfg: Config) -> None:
    """Replace what mmengine would pickle, in place: the config becomes JSON, logged histories become tensors."""
    checkpoint["meta"].pop("cfg", None)
    checkpoint["meta"][CONFIG_KEY] = config_to_json(cfg)
    hub = checkpoint["message_hub"]
    hub["log_scalars"] = {
        name: dict(
            values=torch.as_tensor(np.asarray(buffer.data[0], np.float64)),
            counts=torch.as_tensor(np.asarray(buffer.data[1], np.int64)),
            max_length=buffer.max_length,
        )
        for name, buffer in hub["log_scalars"].items()
    }
    # OneCycleLR keeps a bound method among its numbers; loading leaves the fresh scheduler's own in place.
    if "param_schedulers" in checkpoint:
        checkpoint["param_schedulers"] = [
            {key: value for key, value in state.items() if not callable(value)}
            for state in checkpoint["param_schedulers"]
        ]
    hub["runtime_info"] = {k: v for k, v in hub["runtime_info"].items() if k != "cfg" and _is_plain(v)}
    hub["resumed_keys"] = {
        name: flag
        for name, flag in hub["resumed_keys"].items()
        if name in hub["runtime_info"] or name in hub["log_scalars"]
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, int | float | str)


def restore_histories(checkpoint: dict) -> None:
    """Undo :func:`make_plain` for the logged histories, in place.

    Those of evaluations stay out: mmengine logs every one that it holds, also what is not measured any more.
    """
    hub = checkpoint.get("message_hub", {})
    hub["log_scalars"] = {
        name: HistoryBuffer(h["values"].tolist(), h["counts"].tolist(), h["max_length"]) if isinstance(h, dict) else h
        for name, h in hub.get("log_scalars", {}).items()
        if not name.startswith(("val/", "test/"))
    }


_TENSOR_BUILDERS = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("collections", "OrderedDict"),
}


class _TensorsOnly(pickle.Unpickler):
    """Unpickler that rebuilds tensors and puts an inert object in the place of everything else."""

    def find_class(self, module: str, name: str) -> type:
        storage = module == "torch" and name.endswith("Storage")
        if storage or (module, name) in _TENSOR_BUILDERS:
            return super().find_class(module, name)
        return _Inert


class _Inert:
    """Accepts whatever a pickle would do with an object and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...


def load_foreign_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The ``state_dict`` of any PyTorch or Lightning checkpoint; objects in it are not built, code is not run.

    Raises:
        InputError: when the file is missing, damaged or holds no ``state_dict``.
    """

    class Module:
        Unpickler = _TensorsOnly
        load = staticmethod(lambda file, **kwargs: _TensorsOnly(file, **kwargs).load())
        __name__ = "tensors_only"

    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint")
    if zipfile.is_zipfile(path) and any(n.endswith("constants.pkl") for n in zipfile.ZipFile(path).namelist()):
        raise InputError(f"{path}: refused, it is a TorchScript program; save its state_dict instead")
    try:
        checkpoint = torch.load(path, map_location="cpu", pickle_module=Module, weights_only=False)
    except (TypeError, RuntimeError, pickle.UnpicklingError, EOFError, OSError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({_first_line(error)}); download it again") from error
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    tensors = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise InputError(f"{path}: holds no state_dict of tensors")
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
