"""What the command lines of the tools share."""

from __future__ import annotations

import argparse
import os

import pytest
from mmengine.config import Config

from etram_mmdet.utils import cli
from etram_mmdet.utils.cli.config import add_cfg_options
from etram_mmdet.utils.cli.launching import add_launcher, use_launcher
from etram_mmdet.utils.errors import InputError


@pytest.fixture
def parser():
    parser = cli.make_parser("What it does.\n\n    An example as it stands.")
    add_cfg_options(parser)
    add_launcher(parser)
    return parser


def test_help_shows_the_docstring_as_it_stands(parser):
    assert "What it does.\n\n    An example as it stands.\n" in parser.format_help()


def test_options_of_a_config_are_values(parser):
    words = ["--cfg-options", "a.b=[1,2]", "c=(3,4)", "d=x", "e=None", "f=g=h"]
    options = parser.parse_args(words).cfg_options
    assert options == {"a.b": [1, 2], "c": (3, 4), "d": "x", "e": None, "f": "g=h"}
    assert parser.parse_args([]).cfg_options is None


def test_a_word_without_a_value_is_a_sentence(parser, capsys):
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--cfg-options", "a=1", "data_root"])
    assert (
        end.value.code == 2
        and "--cfg-options data_root: expected KEY=VALUE" in capsys.readouterr().err
    )


@pytest.mark.parametrize("before, after", [({}, "3"), (dict(LOCAL_RANK="1"), "1")])
def test_launcher_reaches_the_config_and_mmengine(parser, monkeypatch, before, after):
    monkeypatch.setenv("LOCAL_RANK", "")  # so that it is put back, whatever the tool sets
    monkeypatch.delenv("LOCAL_RANK")
    for key, value in before.items():
        monkeypatch.setenv(key, value)
    cfg = Config()
    use_launcher(cfg, parser.parse_args(["--launcher", "pytorch", "--local-rank", "3"]))
    assert cfg.launcher == "pytorch" and os.environ["LOCAL_RANK"] == after


@pytest.mark.parametrize(
    "error, status, says",
    [
        (InputError("a.h5: no such file"), 1, "error: a.h5: no such file\n"),
        (FloatingPointError("loss is nan"), 1, "error: loss is nan\n"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on\n"),
    ],
)
def test_what_a_user_can_mend_is_one_line(capsys, error, status, says):
    with (
        pytest.raises(SystemExit) as end,
        cli.exit_on_input_error("stopped; the same command goes on"),
    ):
        raise error
    assert end.value.code == status and capsys.readouterr().err == says


def test_ctrl_c_that_a_library_takes_for_something_else_is_ctrl_c(capsys):
    """mmengine raises a SyntaxError where it is pressed while a config is formatted."""
    with pytest.raises(SystemExit) as end, cli.exit_on_input_error():
        try:
            raise KeyboardInterrupt
        except BaseException:
            raise SyntaxError("Failed to format the config file")  # noqa: B904  mmengine's has no cause either
    assert end.value.code == 130 and capsys.readouterr().err == "interrupted\n"


def test_other_errors_keep_their_trace():
    with pytest.raises(KeyError), cli.exit_on_input_error():
        raise KeyError("a fault of ours")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=dict(type=Pack,size=(1,2))", dict(type="Pack", size=[1, 2])),
        ("a=[dict(type='Pack'), dict(b=1e3)]", [dict(type="Pack"), dict(b=1000.0)]),
        ("a={'type': 'Pack', 'b': [true, None]}", dict(type="Pack", b=[True, None])),
        ("a=(1,two)", (1, "two")),
        ("a=1,2", [1, 2]),
        ("a='my folder/x'", "my folder/x"),
        ("a=true", True),
    ],
)
def test_a_value_of_an_option_may_be_nested(word, value):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    assert parser.parse_args(["--cfg-options", word]).cfg_options == dict(a=value)


@pytest.mark.parametrize(
    "word", ["a", "=1", "a..b=1", "a=[dict(b=1", "a=(1,2", "a=dict(b=print(1))"]
)
def test_an_option_that_is_none_is_refused(word, capsys):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--cfg-options", word])
    assert f"--cfg-options {word}: " in capsys.readouterr().err
