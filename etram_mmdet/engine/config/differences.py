"""In which settings do two models differ?"""

from __future__ import annotations

import inspect

from etram_mmdet.engine.config.signatures import registered

# They change how a model is trained or thresholded, not what its weights mean.
_IRRELEVANT = ("train_cfg", "test_cfg", "init_cfg", "with_cp")


def model_differences(config: dict, checkpoint: dict, path: str = "") -> list[str]:
    """One line per differing setting, like ``backbone.patch_size: config 4, checkpoint 2``.

    A setting that one side leaves out counts as its class's default. Losses and training or test settings are not
    compared.
    """
    lines = []
    for key in sorted({*config, *checkpoint}):
        if key in _IRRELEVANT or key.startswith("loss_"):
            continue
        ours, theirs = _setting(config, key), _setting(checkpoint, key)
        where = f"{path}{key}"
        if isinstance(ours, dict) and isinstance(theirs, dict):
            lines += model_differences(ours, theirs, f"{where}.")
        elif _plain(ours) != _plain(theirs):
            lines.append(f"{where}: config {_shown(ours)}, checkpoint {_shown(theirs)}")
    return lines


def _setting(cfg: dict, key: str) -> object:
    if key in cfg or "type" not in cfg:
        return cfg.get(key)
    classes = registered(cfg["type"])  # MODELS.get would import the module that a dotted name begins with
    for base in getattr(classes[0], "__mro__", ()) if classes else ():
        parameter = inspect.signature(base.__init__).parameters.get(key)
        if parameter is not None:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None


def _plain(value: object) -> object:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return value.get("type", str(value))
    return "unset" if value is None else str(_plain(value))
