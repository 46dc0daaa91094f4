"""Options that say how to open a recording."""

from __future__ import annotations

import argparse


def add_opening(
    parser: argparse.ArgumentParser, no_size: str = "in pixels, for files that do not hold it"
) -> None:
    """Add the options that say how to open a recording; :func:`opening_of` reads them.

    They are ``--sensor``, ``--event-time-unit``, ``--event-columns`` and ``--sort-events``.

    Args:
        parser: parser of a tool that opens recordings.
        no_size: help of ``--sensor``. Default: the size is for files that do not hold it.
    """
    parser.add_argument("--sensor", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help=no_size)
    parser.add_argument(
        "--event-time-unit",
        choices=("us", "ms", "ns"),
        default="us",
        help="unit of the events' time stamps (default: %(default)s)",
    )
    parser.add_argument(
        "--event-columns",
        metavar="t,x,y,p",
        help="names of the columns of a text file or array, in their order (default: detected)",
    )
    parser.add_argument(
        "--sort-events",
        action="store_true",
        help="sort the events by time; loads all of them into memory",
    )


def opening_of(args: argparse.Namespace) -> dict:
    """The options of :func:`add_opening` as ``open_recording`` takes them.

    Args:
        args: parsed command line.
    """
    return dict(
        sensor_px=tuple(args.sensor) if args.sensor else None,
        time_unit=args.event_time_unit,
        sort=args.sort_events,
        columns=args.event_columns,
    )
