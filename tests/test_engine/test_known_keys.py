"""Keys that classes and functions take, with the types of their values."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.runner import Runner
from torch import Tensor, nn

from etram_mmdet.engine.config.constructors import parameters
from etram_mmdet.engine.config.known_keys import known_keys
from etram_mmdet.engine.config.values import suits


class Inner(nn.Module):
    def __init__(self, width: int = 1):
        super().__init__()


class Closed(BaseModule):
    def __init__(self, depth: int = 1):
        super().__init__()


class Swallowing(BaseModule):
    def __init__(self, depth: int = 1, **kwargs):
        super().__init__()


class Outer(BaseModule):
    def __init__(self, depth: int = 1, **kwargs):
        super().__init__()
        self.inner = Inner(**kwargs)


class Picking(BaseModule):
    def __init__(self, depth: int = 1, **kwargs):
        kwargs.pop("hidden", None)
        super().__init__(**kwargs)


class Nested(nn.Module):
    def __init__(self, depth: int = 1, **kwargs):
        super().__init__()
        self.inner = Nested(**kwargs) if depth else None


class Skipping(Inner, BaseModule):
    def __init__(self, depth: int = 1, **kwargs):
        super(Inner, self).__init__(**kwargs)


WithoutSource = type(
    "WithoutSource", (), dict(__init__=eval("lambda self, depth=1, **kwargs: None"))
)


@pytest.mark.parametrize(
    ("cls", "taken", "refused"),
    [
        (Inner, {"width", "type", "_scope_"}, {"widht", "depth"}),
        (Closed, {"depth"}, {"dept", "init_cfg"}),
        (Swallowing, {"depth", "other"}, {"dept"}),
        (Outer, {"width", "depth"}, {"dept"}),
        (Picking, {"depth", "init_cfg", "hidden"}, {"dept"}),
        (Nested, {"depth", "other"}, {"dept"}),
        (Skipping, {"width", "depth", "init_cfg"}, {"init_cfgs"}),
        (WithoutSource, {"depth", "other"}, {"dept"}),
    ],
)
def test_keys_of_a_plugin_are_the_parameters_that_it_hands_on(cls, taken, refused, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, "MyPlugin", cls)
    for kind in ("MyPlugin", "mmdet.MyPlugin", cls):
        known = known_keys(dict(type=kind), "model.neck")
        assert {key for key in taken | refused if known.refuses(key)} == refused


class Annotated:
    def __init__(
        self,
        whole: int,
        share: float | None = 1,
        flag: bool = True,
        name: str = "",
        pair: tuple = (),
        hw: tuple[int, int] = (1, 1),
        table: dict | str = "",
        rate: float | Tensor = 1,
        other: Tensor | None = None,
    ): ...


@pytest.mark.parametrize(
    ("key", "passing", "refused"),
    [
        ("whole", [1, True, np.int64(1), 1e3], [None, 1.5, "1", (1,)]),
        ("share", [0.5, 1, None, np.float32(1)], ["0.5", [0.5]]),
        ("flag", [True, 0], [None, "yes", 0.5]),
        ("name", ["x", Path("x")], [None, 1, ["x"]]),
        ("pair", [(1, 2), [1, 2], ["a"]], ["x", 1.5, dict(a=1)]),
        ("hw", [(1, 2), [1, 2]], [None, (1,), (1, 2, 3), ("a", 2)]),
        ("table", [dict(a=1), "x"], [None, 1, [1]]),
        ("rate", [1, 0.5, torch.zeros(1)], ["fast", [1]]),
        ("other", [1, "x", torch.zeros(1)], []),
    ],
)
def test_plain_annotations_of_this_project_decide_which_values_pass(
    key, passing, refused, monkeypatch
):
    monkeypatch.setattr(Annotated.__init__, "__module__", "etram_mmdet.models")
    types, _ = parameters.__wrapped__(Annotated)
    assert [value for value in passing + refused if not suits(value, types[key])] == refused
    monkeypatch.setattr(Annotated.__init__, "__module__", "mmdet.models")
    types, _ = parameters.__wrapped__(Annotated)
    assert all(suits(value, types[key]) for value in passing + refused)


@pytest.mark.parametrize(
    ("place", "source", "pattern"),
    [
        ("", inspect.getmodule(Runner), r"self\.cfg\.get\(\s*'(\w+)'"),
        ("env_cfg", Runner.setup_env, r"env_cfg\.get\('(\w+)'"),
        ("default_hooks", Runner.register_default_hooks, r"\n +(\w+)=dict\(type="),
        ("auto_scale_lr", Runner.scale_lr, r"auto_scale_lr\.get\('(\w+)'"),
        ("auto_scale_lr", Runner.scale_lr, r"auto_scale_lr\['(\w+)'"),
        ("train_dataloader", Runner.build_dataloader, r"dataloader_cfg\.pop\(\s*'(\w+)'"),
        (
            "optim_wrapper.paramwise_cfg",
            DefaultOptimWrapperConstructor,
            r"paramwise_cfg\.get\(\s*'(\w+)'",
        ),
    ],
)
def test_what_mmengine_reads_by_name_is_known(place, source, pattern):
    read = set(re.findall(pattern, inspect.getsource(source)))
    assert read and read <= known_keys({}, place).types.keys()
