"""Settings of a live run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from etram_mmdet.deploy.live import IN_ORDER
from etram_mmdet.deploy.live.names import free_number, numbered
from etram_mmdet.deploy.live.outputs import TERMINAL
from etram_mmdet.utils.notices import say


@dataclass
class LiveSettings:
    """How a live run works.

    Args:
        policy: ``in-order`` or ``newest``, see :func:`follow`. Default: in-order.
        out: names of outputs, see :class:`Outputs`. Default: none.
        record: RAW file that gets all events. Default: none. Where one of these files exists, all
            get a number: ``all_2.raw``.
        buffer_bytes: size of the buffer file in which events of a camera wait. Default: 1 GB.
        buffer_folder: where it is made. Default: the system's folder for temporary files.
        silence_s: seconds without an event after which a warning is printed. Default: 5.
        report_s: seconds between two lines of counts. Default: 5.
        web_port: port of the web page. Default: no page.
        web_host: address of the web page. Default: 127.0.0.1.
    """

    policy: str = IN_ORDER
    out: list[str] = field(default_factory=list)
    record: Path | None = None
    buffer_bytes: int = 1_000_000_000
    buffer_folder: Path | None = None
    silence_s: float = 5.0
    report_s: float = 5.0
    web_port: int | None = None
    web_host: str = "127.0.0.1"


def unused_names(settings: LiveSettings) -> LiveSettings:
    """The settings with names of files that do not exist yet, so that no run overwrites another.

    Args:
        settings: names as the user wrote them.
    """
    named = [Path(name) for name in settings.out if name != TERMINAL]
    wanted = named + ([settings.record] if settings.record else [])
    number = free_number(wanted)
    if number == 1:
        return settings
    new = ", ".join(str(numbered(path, number)) for path in wanted)
    say(f"files of an earlier run are kept; this run writes {new}")
    return replace(
        settings,
        out=[n if n == TERMINAL else str(numbered(Path(n), number)) for n in settings.out],
        record=settings.record and numbered(settings.record, number),
    )
