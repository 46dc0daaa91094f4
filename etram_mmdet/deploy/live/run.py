"""A live run: source, reader, loop, outputs and reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from etram_mmdet.deploy.inferencer import Inferencer
from etram_mmdet.deploy.live import NEWEST
from etram_mmdet.deploy.live.addresses import is_any
from etram_mmdet.deploy.live.backlog import backlog_for
from etram_mmdet.deploy.live.loop import follow
from etram_mmdet.deploy.live.outputs import Output, Outputs, check_names, print_line
from etram_mmdet.deploy.live.reader import Reader
from etram_mmdet.deploy.live.recorder import Recorder, encode_evt2
from etram_mmdet.deploy.live.report import Report
from etram_mmdet.deploy.live.settings import LiveSettings, unused_names
from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.events.recording import Events
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.interruption import noted_stop
from etram_mmdet.utils.notices import tell

# Starts of reasons that count something else than events.
_NO_EVENTS = ("bytes_", "time_", "usb_")


class LiveRun:
    """Detects in a source until it ends or a signal comes, and prints what happens.

    Args:
        inferencer: the detector.
        source: a source that is not open yet.
        settings: how to work.
        clock: gives the time in seconds; the schedule of a replay has to use the same. Default: the
            system's.

    Attributes:
        report: counts of the windows.
        failures: sentences on outputs and recordings that ended early.
    """

    def __init__(
        self,
        inferencer: Inferencer,
        source: Source,
        settings: LiveSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.report = Report()
        self.failures: list[str] = []
        self._recorder: Recorder | None = None
        self._inferencer = inferencer
        self._source = source
        self._settings = settings
        self._clock = clock
        self._told_s = clock()

    def __call__(self) -> int:
        """Run, and return the number of the signal that ended it; 0 if none did.

        Raises:
            InputError: the source, the sensor, an output or the port cannot be used. Everything
                that came before is processed and reported first.
        """
        outputs = self._open()
        hw = self._source.height, self._source.width
        with noted_stop() as stop:
            try:
                self._warm_up(hw)
                self._follow(outputs, hw, stop)
            finally:
                self._reader.stop()
                outputs.close()
        self._tell()
        self._tell_losses()
        self.failures = outputs.failures + ([self._recorder.failure] if self._recorder else [])
        self.failures = [sentence for sentence in self.failures if sentence]
        if self._reader.error is not None and not stop.number:
            raise self._reader.error
        return stop.number

    def _open(self) -> Outputs:
        """Open everything, or nothing. What may be refused comes before files are overwritten."""
        with ExitStack() as opened:
            self._check_files()
            opened.callback(self._source.close)
            self._source.open()
            self._check_sensor()
            self._settings = unused_names(self._settings)
            hw = self._source.height, self._source.width
            self._open_reader(hw)
            if self._recorder is not None:
                opened.callback(self._recorder.close)
            page = self._page(hw)
            if page is not None:
                opened.callback(page.close)
            outputs = Outputs(self._settings.out, self._inferencer)
            if page is not None:
                outputs.add(page)
            opened.pop_all()
        return outputs

    def counts(self) -> dict[str, str]:
        """Counts by name, for people."""
        report = self.report
        return {
            "windows": str(report.windows),
            "skipped windows": str(report.skipped),
            "dropped windows": str(report.dropped),
            "late": str(report.late),
            "events": f"{self._reader.num_events:,}",
            "dropped events": f"{self._num_dropped():,}",
        }

    def _follow(self, outputs: Outputs, hw: tuple[int, int], stop: Callable[[], bool]) -> None:
        due_s = getattr(self._source, "due_s", lambda end_us: None)

        def must_stop() -> bool:  # called at least 20 times a second
            self._reader.watchdog.look()
            return stop()

        self._reader.start()
        windows = follow(
            self._backlog,
            self._inferencer,
            hw,
            self._settings.policy,
            self.report,
            due_s,
            must_stop,
            self._clock,
        )
        for seen in windows:
            outputs.write(seen)
            if outputs.have_all_failed and self._recorder is None:
                return  # nobody sees what is detected
            if self._clock() - self._told_s >= self._settings.report_s:
                self._tell()

    def _warm_up(self, hw: tuple[int, int]) -> None:
        """Do every step once: the first calls compile and allocate, which would make boxes late."""
        inferencer = self._inferencer
        representation = inferencer.representation(*hw)
        t = np.arange(2, dtype=np.int64)
        events = Events(t, *(np.zeros(2, kind) for kind in (np.uint16, np.uint16, np.uint8)))
        image = representation(events, (0, inferencer.window_us))
        stream = inferencer.new_stream()
        for _ in range(2):
            inferencer.window(inferencer.window_us, image, stream.look(image))
        if self._recorder is not None:
            encode_evt2(events, np.full(1, -1, np.int64))

    def _open_reader(self, hw: tuple[int, int]) -> None:
        settings = self._settings
        self._recorder = Recorder(settings.record, *hw[::-1]) if settings.record else None
        self._backlog = backlog_for(
            self._source.can_wait,
            settings.policy == NEWEST,
            self._inferencer.window_us + self._inferencer.step_us,
            settings.buffer_bytes,
            settings.buffer_folder,
        )
        self._reader = Reader(
            self._source, self._backlog, self._recorder, settings.silence_s, self._clock
        )

    def _page(self, hw: tuple[int, int]) -> Output | None:
        settings = self._settings
        if settings.web_port is None:
            return None
        from etram_mmdet.deploy.live.web import WebPage

        page = WebPage(settings.web_port, hw, self._inferencer, self.counts, settings.web_host)
        tell(f"page: {page.url}")
        if is_any(settings.web_host):
            urls = " ".join(page.network_urls) or "none, this machine is in no network"
            tell(f"page for other machines: {urls}")
        return page

    def _check_sensor(self) -> None:
        size_px = self._source.width, self._source.height
        description = self._inferencer.description
        if description.frame_shape is not None and size_px != self._inferencer.sensor_px:
            expected = "x".join(map(str, self._inferencer.sensor_px))
            raise InputError(
                f"the source has a sensor of {size_px[0]}x{size_px[1]} pixels, but the exported "
                f"detector takes {expected}; export the checkpoint for this sensor: "
                f"tools/export.py CHECKPOINT OUT.onnx --sensor {size_px[0]} {size_px[1]}"
            )

    def _check_files(self) -> None:
        check_names(self._settings.out)
        taken = {"the source itself": getattr(self._source, "path", None)}
        taken["the file of --record"] = self._settings.record
        for name in self._settings.out:
            for what, path in taken.items():
                if isinstance(path, str | Path) and Path(name).resolve() == Path(path).resolve():
                    raise InputError(f"--out {name}: is {what}; name another file")
        self._check_record()

    def _check_record(self) -> None:
        """A folder as the source would bring the events of its own recording again and again."""
        record = self._settings.record
        folder = getattr(self._source, "folder", None)
        if record is None or not isinstance(folder, str | Path):
            return
        if record.resolve().parent == Path(folder).resolve():
            raise InputError(
                f"--record {record}: lies in the folder that is the source; name another folder"
            )

    def _num_dropped(self) -> int:
        lost = self._reader.dropped.items()
        events = sum(number for what, number in lost if not what.startswith(_NO_EVENTS))
        return events + self._backlog.num_lost

    def _tell(self) -> None:
        self._told_s = self._clock()
        lost = self._num_dropped()
        tell(f"{self.report}; {self._reader.num_events:,} events, {lost:,} dropped")

    def _tell_losses(self) -> None:
        lost = dict(self._reader.dropped)
        if self._backlog.num_lost:
            lost["no_room_in_buffer_file"] = self._backlog.num_lost
        lines = []
        if lost:
            lines.append(f"dropped: {', '.join(f'{n:,} {what}' for what, n in lost.items())}")
        if self._reader.watchdog.num_silences:
            lines.append(f"silences of the source: {self._reader.watchdog.num_silences}")
        if self._recorder is not None:
            lines.append(f"{self._settings.record}: {self._recorder.num_events:,} events recorded")
        with suppress(InputError):
            for line in lines:
                print_line(line)
