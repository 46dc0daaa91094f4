"""Configs that tools wrote are data."""

from __future__ import annotations

import pytest

from etram_mmdet.apis.inference import load_operating_points
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.plain_config import read_plain_config
from tests.helpers.paths import ROOT


def as_lists(value):
    if isinstance(value, dict):
        return {key: as_lists(each) for key, each in value.items()}
    return [as_lists(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", ["baseline", "patch2_sizeaware_abc", "copy_paste"])
def test_a_dumped_config_is_read_as_it_is(name, tmp_path):
    cfg = load_config(ROOT / "configs" / f"{name}.py")
    cfg.dump(tmp_path / "x.py")
    assert read_plain_config(tmp_path / "x.py") == as_lists(cfg.to_dict())


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.mkdir({trace!r})",
        "operating_points = __import__('os').mkdir({trace!r})",
        "operating_points = dict(score_thr=[open({trace!r}, 'w') for _ in 'a'])",
        "operating_points = dict(a=1)\nopen({trace!r}, 'w')",
        "operating_points = " + "[" * 5000,
        "operating_points = dict(",
        "a.b = 1",
        "\0",
    ],
)
@pytest.mark.parametrize("read", [read_plain_config, load_operating_points])
def test_nothing_is_executed(read, text, tmp_path):
    trace = tmp_path / "executed"
    (tmp_path / "x.py").write_text(text.replace("{trace!r}", repr(str(trace))))
    with pytest.raises(InputError, match=r"x\.py: holds more than assignments of plain values"):
        read(tmp_path / "x.py")
    assert not trace.exists()
