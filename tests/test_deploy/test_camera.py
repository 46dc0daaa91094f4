"""A camera of the package neuromorphic-drivers, by a device that gives recorded packets.

The stand-in has the interface of version 0.18 of the package. No hardware is involved.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from etram_mmdet.deploy.sources import Camera
from etram_mmdet.deploy.sources.intake import joined
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import HEIGHT, WIDTH, make_events

POLARITY_EVENT = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])


class Device:
    """What ``neuromorphic_drivers.open`` returns: it gives packets, then breaks or ends."""

    def __init__(self, packets, error=None) -> None:
        self.packets = iter(packets)
        self.error = error
        self.is_closed = False

    def properties(self):
        return SimpleNamespace(width=WIDTH, height=HEIGHT)

    def __iter__(self):
        return self

    def __next__(self):
        for status_and_packet in self.packets:
            return status_and_packet
        raise self.error or StopIteration

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def connect(monkeypatch):
    """Put a package in place whose ``open`` returns a device, or raises its error."""

    def put(device):
        module = ModuleType("neuromorphic_drivers")
        module.calls = []

        def open_(**options):
            module.calls.append(options)
            if isinstance(device, Exception):
                raise device
            return device

        module.open = open_
        monkeypatch.setitem(sys.modules, "neuromorphic_drivers", module)
        return module

    return put


def packet(rows=None, current_t=0, overflows=None):
    """A status and a packet of the package."""
    status = SimpleNamespace(ring=SimpleNamespace(current_t=current_t, dropped_packets=0))
    return status, SimpleNamespace(
        polarity_events=rows, polarity_events_overflow_indices=overflows, trigger_events=None
    )


NOTHING = (SimpleNamespace(ring=None), None)  # within the timeout of the iterator


def rows_of(events) -> np.ndarray:
    rows = np.empty(len(events["t"]), POLARITY_EVENT)
    for name, column in zip(("t", "x", "y", "on"), ("t", "x", "y", "p"), strict=True):
        rows[name] = events[column]
    return rows


def all_of(source):
    parts = []
    while (events := source.read(0.0)) is not None:
        parts.append(events)
    return joined(*parts)


def test_recorded_packets_come_through(connect):
    events = make_events(start_us=9_000_000)
    parts = np.array_split(rows_of(events), 30)
    packets = [packet(part, int(part["t"][-1])) for part in parts]
    module = connect(Device([*packets[:10], NOTHING, packet(current_t=1), *packets[10:]]))
    with Camera("00051") as source:
        assert (source.width, source.height) == (WIDTH, HEIGHT)
        assert not source.can_wait
        found = all_of(source)
        assert source.dropped == {}
    for column, name in zip(found, "txyp", strict=True):
        np.testing.assert_array_equal(column, events[name])
    assert [column.dtype for column in found] == [np.int64, np.uint16, np.uint16, np.uint8]
    assert module.calls[0]["serial"] == "00051"
    assert module.calls[0]["iterator_timeout"] > 0
    assert source._opened is None


def test_the_device_is_closed(connect):
    device = Device([])
    connect(device)
    with Camera() as source:
        assert source.read(0) is None
    assert device.is_closed


def test_a_scene_without_events_gives_empty_packets_and_the_time(connect):
    first = rows_of(make_events(num=10, span_us=1000))
    quiet = [packet(current_t=1000 * number) for number in range(2, 50)]
    connect(Device([packet(first, 1000), *quiet]))
    with Camera() as source:
        assert len(source.read(0).t) == 10
        for number in range(2, 50):
            assert len(source.read(0).t) == 0
            assert source.reached_us == max(1000 * number - 5000, first["t"][-1])


def test_overflows_and_damaged_events_are_counted(connect):
    events = make_events(num=100)
    events["x"][:7] = WIDTH
    connect(Device([packet(rows_of(events), overflows=np.array([3, 50]))]))
    with Camera() as source:
        assert len(all_of(source).t) == 93
        assert source.dropped == {"usb_overflows": 2, "events_out_of_frame": 7}


def test_overflows_in_a_scene_without_events_are_counted(connect):
    connect(Device([packet(None, overflows=np.array([0]))]))
    with Camera() as source:
        assert len(all_of(source).t) == 0
        assert source.dropped == {"usb_overflows": 1}


def test_a_camera_whose_clock_begins_again_goes_on(connect):
    events = rows_of(make_events(num=100, start_us=60_000_000))
    connect(Device([packet(events), packet(rows_of(make_events(num=100)))]))
    with Camera() as source:
        found = all_of(source)
    assert len(found.t) == 200
    assert (np.diff(found.t) >= 0).all()


def test_a_cable_that_is_pulled_out_is_told_after_the_last_event(connect):
    connect(Device([packet(rows_of(make_events()))], RuntimeError("device disconnected")))
    with Camera("7") as source:
        assert len(source.read(0).t) == 4000
        with pytest.raises(InputError, match=r"^camera:7: the connection broke: device disc"):
            source.read(0)


def test_a_camera_that_is_not_there_is_told(connect):
    connect(RuntimeError("device not found"))
    with pytest.raises(InputError, match=r"^camera: cannot be opened: device not found; plug it"):
        Camera().open()


def test_a_package_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", None)
    with pytest.raises(InputError, match=r"pip install neuromorphic-drivers"):
        Camera().open()


def test_the_settings_of_a_camera_may_be_chosen_in_a_class_of_ones_own(connect):
    class Sensitive(Camera):
        def _device(self, drivers):
            return drivers.open(configuration="sensitive", iterator_timeout=0.01)

    module = connect(Device([]))
    with Sensitive():
        assert module.calls == [dict(configuration="sensitive", iterator_timeout=0.01)]
