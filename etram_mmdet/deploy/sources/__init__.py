"""Events as they come: recordings, pipes, sockets, growing folders and cameras."""

from __future__ import annotations

import math
import re
from importlib import import_module
from pathlib import Path

from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.deploy.sources.camera import Camera
from etram_mmdet.deploy.sources.folder import GrowingFolder
from etram_mmdet.deploy.sources.raw_bytes import STANDARD_INPUT, TCP, UNIX, RawBytes
from etram_mmdet.deploy.sources.replay import Replay
from etram_mmdet.utils.errors import InputError

__all__ = ["Camera", "GrowingFolder", "RawBytes", "Replay", "Source", "open_source"]

_CAMERA = "camera"
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_source(
    text: str,
    *,
    speed: float | None = None,
    sensor_px: tuple[int, int] | None = None,
    likely_px: tuple[int, int] | None = None,
) -> Source:
    """The source that a user names on the command line. It is not open yet.

    Args:
        text: one of

            - the path of a recording, which is replayed: :class:`Replay`;
            - ``-`` (standard input), ``tcp://HOST:PORT``, ``unix:PATH`` or the path of a named
              pipe, which bring RAW bytes: :class:`RawBytes`;
            - a folder in which recordings appear: :class:`GrowingFolder`;
            - ``camera`` or ``camera:SERIAL``: :class:`Camera`;
            - ``module:Class``, a :class:`Source` of your own.

        speed: of the replay, for a recording and a folder. Default: 1, real time, for a recording,
            and as fast as possible for a folder.
        sensor_px: width and height of the sensor, where the source does not state them. Default:
            None, see ``likely_px``.
        likely_px: size that is assumed if nothing states one and the first events fit, such as that
            of the training. Default: a known sensor that fits.

    Raises:
        InputError: the text names no source, or an option does not go with it.
    """
    sizes_px = dict(sensor_px=sensor_px, likely_px=likely_px)
    path = Path(text)
    if path.is_dir():
        return GrowingFolder(text, math.inf if speed is None else speed, **sizes_px)
    is_bytes = text == STANDARD_INPUT or text.startswith((TCP, UNIX)) or path.is_fifo()
    kind, _, rest = text.partition(":")
    if path.is_file() or not (is_bytes or kind == _CAMERA or _CLASS.fullmatch(text)):
        return Replay(text, 1.0 if speed is None else speed, **sizes_px)
    if speed is not None:
        raise InputError(f"{text}: comes at its own speed; leave --speed out")
    if is_bytes:
        return RawBytes(text, **sizes_px)
    if sensor_px is not None:
        raise InputError(f"{text}: states the size of its sensor; leave --sensor out")
    return Camera(rest or None) if kind == _CAMERA else _own(text)


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
