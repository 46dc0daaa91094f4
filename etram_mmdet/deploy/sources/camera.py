"""Cameras that the package neuromorphic-drivers knows: EVK3, EVK4, DAVIS346, DVXplorer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.deploy.sources.intake import Intake
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.lazy import load
from etram_mmdet.utils.text import first_line

_ITERATION_S = 0.01  # longest time that the driver waits for a packet


class Camera(Source):
    """A camera at USB, through the MIT-licensed package neuromorphic-drivers (0.18 or later).

    It takes Prophesee EVK3 HD and EVK4, iniVation DAVIS346 and DVXplorer, and what else the package
    knows. This class was tried with recorded packets in the package's form, not with a camera.

    The camera keeps its default settings. To choose others, derive a class that overrides
    ``_device``.

    Args:
        serial: serial number of the camera. Default: the first camera found.

    Attributes:
        intake: checks the events; None until the camera is open.
    """

    can_wait = False

    def __init__(self, serial: str | None = None) -> None:
        self.name = f"camera:{serial}" if serial else "camera"
        self.intake: Intake | None = None
        self._serial = serial
        self._opened: Any = None
        self._num_overflows = 0
        self._now_us = 0

    def _device(self, drivers: Any) -> Any:
        """Open the camera.

        Args:
            drivers: the module ``neuromorphic_drivers``.

        Returns:
            What its ``open`` returns.
        """
        return drivers.open(serial=self._serial, iterator_timeout=_ITERATION_S)

    @property
    def dropped(self) -> dict[str, int]:
        lost = {"usb_overflows": self._num_overflows} if self._num_overflows else {}
        return lost | (self.intake.dropped if self.intake else {})

    @property
    def reached_us(self) -> int | None:
        return self.intake.reached_us(self._now_us) if self.intake else None

    def open(self) -> None:
        drivers = load("neuromorphic_drivers", "neuromorphic-drivers")
        try:
            self._opened = self._device(drivers)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{self.name}: cannot be opened: {first_line(error)}; plug it in, close other "
                "programs that use it, and on Linux run neuromorphic-drivers-install-udev-rules"
            ) from error
        properties = self._opened.properties()
        self.width = int(properties.width)
        self.height = int(properties.height)
        self.intake = Intake(self.name, self.width, self.height)
        self._packets: Iterator = iter(self._opened)

    def read(self, timeout_s: float) -> Events | None:
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                status, packet = next(self._packets)
            except StopIteration:
                return None
            except RuntimeError as error:
                raise InputError(
                    f"{self.name}: the connection broke: {first_line(error)}; check the cable and "
                    "start again"
                ) from error
            if status.ring is not None:
                self._now_us = int(status.ring.current_t)
            events = self._events(packet)
            if len(events.t) or time.monotonic() >= until_s:
                return events

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _events(self, packet: Any) -> Events:
        """The events of a packet of the driver, which may hold other things, or nothing."""
        if packet is None:
            return NO_EVENTS
        overflows = packet.polarity_events_overflow_indices
        self._num_overflows += 0 if overflows is None else len(overflows)
        rows = packet.polarity_events
        if rows is None:
            return NO_EVENTS
        return self.intake(
            Events(
                rows["t"].astype(np.int64),
                np.ascontiguousarray(rows["x"]),
                np.ascontiguousarray(rows["y"]),
                rows["on"].astype(np.uint8),
            )
        )
