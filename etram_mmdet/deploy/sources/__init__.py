"""Events as they come: recordings, pipes, sockets, growing folders and cameras."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.deploy.sources.replay import Replay
from etram_mmdet.utils.errors import InputError

__all__ = ["Replay", "Source", "open_source"]

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_source(
    text: str, *, speed: float | None = None, sensor_px: tuple[int, int] | None = None
) -> Source:
    """The source that a user names on the command line. It is not open yet.

    Args:
        text: one of

            - the path of a recording, which is replayed;
            - ``module:Class``, a :class:`Source` of your own.

        speed: of the replay of a recording, see :class:`Replay`. Default: 1, real time.
        sensor_px: width and height of the sensor, where the source does not state them. Default:
            a known sensor that fits.

    Raises:
        InputError: the text names no source, or an option does not go with it.
    """
    if not Path(text).exists() and _CLASS.fullmatch(text):
        return _own(text)
    return Replay(text, 1.0 if speed is None else speed, sensor_px=sensor_px)


def _own(text: str) -> Source:
    """An object of a class that somebody else wrote, named ``module:Class``."""
    module, _, name = text.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{text}: cannot be imported ({error}); put the module's folder on PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise InputError(
            f"{text}: not a source; derive the class from etram_mmdet.deploy.sources.Source"
        )
    return found()
