"""``init_cfg=dict(type="Pretrained", checkpoint=...)`` that executes nothing in a checkpoint."""

from __future__ import annotations

import os
import pickle

from mmdet.registry import WEIGHT_INITIALIZERS
from mmengine.model import PretrainedInit, update_init_info
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from etram_mmdet.engine.checkpoints.files import load_foreign_weights
from etram_mmdet.engine.checkpoints.folder import checkpoint_file
from etram_mmdet.engine.runner.divergence import check_finite
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import first_line

_SWITCH = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # PyTorch's own, for every file that it loads


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class SafePretrainedInit(PretrainedInit):
    """mmengine's ``Pretrained`` initializer with this project's reader of checkpoints.

    mmengine's own reader falls back to unpickling anything. A file may be any PyTorch or Lightning
    checkpoint; only its tensors are read. Of a work folder the newest checkpoint is used, and
    ``demo`` is the one that comes with the package. An address such as ``torchvision://`` is left
    to mmengine, which then may read tensors and plain values only.

    Raises:
        InputError: the file is missing, damaged, holds no weights under ``prefix``, or weights that
            are NaN or infinite.
    """

    def __call__(self, module: nn.Module) -> None:
        if "://" in self.checkpoint:
            self._load_address(module)
            return
        try:
            loaded = load_foreign_weights(checkpoint_file(self.checkpoint))
        except InputError as error:
            raise InputError(f"init_cfg of type Pretrained: {error}") from error
        weights = {name.removeprefix("module."): w for name, w in loaded.items()}
        prefix = f"{(self.prefix or '').rstrip('.')}.".lstrip(".")
        weights = {
            name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)
        }
        if not weights:
            raise InputError(f"{self.checkpoint}: holds no weights under {self.prefix!r}")
        check_finite(weights, self.checkpoint)
        load_state_dict(module, weights, strict=False, logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=self._get_init_info())

    def _load_address(self, module: nn.Module) -> None:
        before = os.environ.get(_SWITCH)
        os.environ[_SWITCH] = "1"
        try:
            super().__call__(module)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{self.checkpoint}: holds more than tensors and plain values; download it and "
                "name the file, of which only the tensors are read"
            ) from error
        except ImportError as error:
            raise InputError(
                f"init_cfg of type Pretrained: {self.checkpoint}: needs the package {error.name}, "
                f"which is not installed; pip install {error.name}, or download the weights and "
                "name the file"
            ) from error
        # no network, no such address, a broken download
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(
                f"init_cfg of type Pretrained: {self.checkpoint}: cannot be loaded "
                f"({first_line(error):.200}); download the weights and name the file"
            ) from error
        finally:
            del os.environ[_SWITCH]
            if before is not None:
                os.environ[_SWITCH] = before
