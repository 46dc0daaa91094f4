"""Options of tools that read a config."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence

from etram_mmdet.utils.literals import literal


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument ``config``.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument("config", help="config file, for example configs/patch2_sizeaware.py")


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...``, a dict of dotted keys; None if not given.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_CfgOptions,
        metavar="KEY=VALUE",
        help="override keys of the config, such as train_dataloader.batch_size=2",
    )


class _CfgOptions(argparse.Action):
    """mmengine's ``DictAction``, imported only if the option is given: the import takes seconds.

    It also reads ``dict(type='X')`` and lists of such dicts, and keeps blanks in a text.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for word in values:
            key, is_pair, text = word.partition("=")
            if not is_pair or not all(key.split(".")):
                parser.error(
                    f"{option_string} {word}: expected KEY=VALUE, such as "
                    "train_dataloader.batch_size=2"
                )
            try:
                options[key] = _option_value(text)
            except (
                SyntaxError,
                ValueError,
                TypeError,
                AttributeError,
                AssertionError,
                RecursionError,
            ):
                parser.error(
                    f"{option_string} {word}: the value cannot be read as Python; put it in "
                    "quotation "
                    f'marks, such as "{key}=(1, 2)" or "{key}=dict(type=\'X\')"'
                )
        setattr(namespace, self.dest, options)


def _option_value(text: str) -> object:
    from mmengine.config import DictAction

    if text.lstrip("[( ").startswith(("dict(", "{")):
        return literal(ast.parse(text, mode="eval").body, names_are_text=True)
    if text.startswith(("(", "[")) or "," in text:
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text.strip("'\""))
