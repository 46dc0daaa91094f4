"""Detect in events as they come: python tools/live.py [CONFIG] MODEL SOURCE --out boxes.csv

MODEL is a checkpoint or a file of tools/export.py. SOURCE is the path of a recording, which is
replayed; - for RAW bytes on standard input; tcp://HOST:PORT; unix:PATH; a folder in which
recordings appear; camera or camera:SERIAL; or module:Class of your own. It ends with the source,
or with Ctrl-C. See docs/live.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from etram_mmdet.deploy.live import IN_ORDER, POLICIES
from etram_mmdet.utils.cli import any_number, check_positive, exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options
from etram_mmdet.utils.cli.detection import add_backend, add_device, add_streaming, add_thresholds
from etram_mmdet.utils.notices import tell


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("paths", nargs="+", metavar="[CONFIG] MODEL SOURCE")
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default=IN_ORDER,
        help="every window in order, or the newest one, skipping older ones (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        nargs="+",
        default=[],
        metavar="FILE",
        help="where boxes go: - (terminal), and files that end in .jsonl, .csv or .mp4; a file "
        "that exists is kept, and the new one gets a number",
    )
    parser.add_argument("--record", type=Path, help=".raw file for all events; kept as --out")
    parser.add_argument("--web", type=int, metavar="PORT", help="show a web page on this port")
    parser.add_argument(
        "--web-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address of the page; 0.0.0.0, or :: with IPv6, shows it to the whole network "
        "(default: %(default)s)",
    )
    parser.add_argument("--speed", type=any_number, help="of a replay; inf: as fast as possible")
    parser.add_argument("--sensor", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument(
        "--buffer-mb",
        type=float,
        default=1000.0,
        help="size of the file in which events of a camera wait (default: %(default)g)",
    )
    parser.add_argument("--buffer-folder", type=Path, help="its folder (default: as TMPDIR says)")
    parser.add_argument(
        "--silence-s",
        type=float,
        default=5.0,
        help="warn when no event came for so long (default: %(default)g)",
    )
    parser.add_argument(
        "--report-s", type=float, default=5.0, help="between lines of counts (default: %(default)g)"
    )
    add_thresholds(parser)
    add_backend(parser)
    add_device(parser)
    add_streaming(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if len(args.paths) not in (2, 3):
        parser.error(f"expected [CONFIG] MODEL SOURCE, got {len(args.paths)} words")
    args.config, checkpoint, args.source = [None, *args.paths][-3:]
    args.checkpoint = Path(checkpoint)
    check_positive(parser, args, "--step-ms", "--buffer-mb", "--silence-s", "--report-s")
    return args


def main() -> None:
    args = parse_args()
    from etram_mmdet.apis.opened_model import opened_model
    from etram_mmdet.deploy.live.run import LiveRun, LiveSettings
    from etram_mmdet.deploy.sources import open_source

    with exit_on_input_error():
        inferencer = opened_model(args, args.step_ms and round(args.step_ms * 1000))
        source = open_source(
            args.source,
            speed=args.speed,
            sensor_px=tuple(args.sensor) if args.sensor else None,
            likely_px=inferencer.sensor_px,
        )
        settings = LiveSettings(
            policy=args.policy,
            out=args.out,
            record=args.record,
            buffer_bytes=round(args.buffer_mb * 1e6),
            buffer_folder=args.buffer_folder,
            silence_s=args.silence_s,
            report_s=args.report_s,
            web_port=args.web,
            web_host=args.web_host,
        )
        run = LiveRun(inferencer, source, settings)
        signal = run()
        for sentence in run.failures:
            tell(f"error: {sentence}")
        if signal or run.failures:
            raise SystemExit(128 + signal if signal else 1)


if __name__ == "__main__":
    main()
