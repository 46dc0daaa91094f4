"""Operators for an mmcv without compiled ones; import this before anything imports mmdet.models.

``mmcv.ops`` needs the compiled module ``mmcv._ext``, which a quick ``pip install onedl-mmcv`` does
not build. `install` puts a module of operators written in PyTorch in its place, unless the compiled
one exists. Operators that are not among `STAND_INS` are missing: a model that needs one is refused
when it is built (`missing_operators`).
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Callable

from etram_mmdet.ops.deformable import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from etram_mmdet.ops.focal import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from etram_mmdet.ops.suppression import nms, softnms

EXTENSION = "mmcv._ext"
STAND_INS = {
    operator.__name__: operator
    for operator in (
        nms,
        softnms,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
    )
}
HOW_TO_BUILD = (
    "MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps "
    "onedl-mmcv"
)


def install() -> None:
    """Make ``mmcv.ops`` importable; does nothing when ``mmcv._ext`` exists already."""
    if importlib.util.find_spec(EXTENSION) is not None:
        return
    module = types.ModuleType(EXTENSION, "Replacement for mmcv's compiled operators.")
    # mmengine probes the module with `find_spec`, which raises when `__spec__` is None.
    module.__spec__ = importlib.machinery.ModuleSpec(EXTENSION, loader=None)
    vars(module).update(STAND_INS)
    module.__getattr__ = _missing_operator
    sys.modules[EXTENSION] = module


def missing_operators(cls: type) -> list[str]:
    """Names of compiled operators that a class of ``mmcv.ops`` may call and that do not exist here.

    Every operator named in the class's file counts. The list is empty for every other class, and
    when mmcv has its compiled operators.

    Args:
        cls: class of a layer.
    """
    files = {base.__module__ for base in cls.__mro__ if base.__module__.startswith("mmcv.ops.")}
    called = [name for file in files for name in _operators_called_in(sys.modules[file])]
    extension = vars(sys.modules[EXTENSION])
    is_stand_in = extension.get("__getattr__") is _missing_operator
    return sorted({name for name in called if name not in extension}) if is_stand_in else []


def _operators_called_in(module: types.ModuleType) -> list[str]:
    """Operators named in a file of ``mmcv.ops``, which calls the compiled module ``ext_module``."""
    return re.findall(r"\bext_module\.(\w+)", inspect.getsource(module))


def _missing_operator(name: str) -> Callable:
    """Module ``__getattr__`` of the stand-in: returns a function that raises when it is called.

    mmcv asks for each operator at import, so only a call may raise.
    """
    if name.startswith("__"):
        raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")

    def operator(*_args, **_kwargs):
        raise RuntimeError(
            f"mmcv operator {name!r} was called, but this mmcv was installed without compiled "
            "operators, and etram_mmdet has no replacement for it (it has "
            f"{', '.join(STAND_INS)}). Build mmcv's operators with: {HOW_TO_BUILD}"
        )

    return operator


install()
