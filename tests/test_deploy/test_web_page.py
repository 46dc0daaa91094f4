"""The page of tools/live.py in a real browser: events and boxes, the end, and a new beginning."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from etram_mmdet.deploy.inferencer import Window
from etram_mmdet.deploy.live.loop import LiveWindow
from etram_mmdet.deploy.live.web import WebPage
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations import StackedHistogram
from etram_mmdet.visualization.event_colours import events_to_rgb
from tests.helpers.browser import Browser, find_browser

HW = (48, 64)
RED, GREEN = (255, 0, 0), (0, 255, 0)
NOTE = "document.getElementById('note').textContent"
DETECTOR = SimpleNamespace(
    palette=[RED, GREEN],
    representation=lambda height, width: StackedHistogram(height, width, bins=2, downsample="none"),
)

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium is installed (such as by: apt install chromium)"
)


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


def window(label: int, box: tuple[float, ...]) -> LiveWindow:
    """Events of both kinds in two squares, and a box."""
    y, x = np.mgrid[20:28, 10:18].reshape(2, -1).astype(np.uint16)
    t = np.zeros(2 * len(x), np.int64)
    p = np.repeat(np.array([1, 0], np.uint8), len(x))
    events = Events(t, np.r_[x, x + 30], np.r_[y, y], p)
    image = DETECTOR.representation(*HW)(events, (0, 50_000))
    boxes = Boxes(
        np.array([box], np.float32),
        np.array([label]),
        np.array([0.75], np.float32),
        classes=("car", "bus"),
    )
    return LiveWindow(Window(50_000, image, boxes, boxes, boxes), 0.001, 0)


def page_of(seen: LiveWindow, port: int = 0) -> WebPage:
    page = WebPage(port, HW, DETECTOR, lambda: {"windows": "12"})
    page.write(seen)
    return page


def has_colour(browser: Browser, x: float, y: float, colour: tuple[int, ...]) -> bool:
    """Whether the window shows a colour, but for smooth edges, at a place in sensor pixels."""
    canvas = browser.value("JSON.stringify(document.getElementById('view').getClientRects()[0])")
    rect = SimpleNamespace(**json.loads(canvas))
    picture = browser.picture()
    zoom = (rect.width - 2) / HW[1]  # a border of one pixel
    place = round(rect.y + 1 + y * zoom), round(rect.x + 1 + x * zoom)
    return np.abs(picture[place].astype(int) - colour).max() < 30


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 800)])
def test_events_and_boxes_are_seen(browser, width, height):
    seen = window(0, (20, 30, 36, 44))
    page = page_of(seen)
    browser.show(page.url, width, height)
    browser.wait_for(f"{NOTE} === 'live'")
    expected = events_to_rgb(DETECTOR.representation(*HW).off_on(seen.window.image))
    for x, y in ((14, 24), (44, 24), (5, 5)):  # brighter, darker, no events
        assert has_colour(browser, x + 0.5, y + 0.5, expected[y, x])
    for one, other in ((14, 44), (14, 5), (44, 5)):
        assert np.abs(expected[24, one].astype(int) - expected[24, other]).max() >= 60
    for x, y in ((20, 40), (36, 40), (28, 44)):
        assert has_colour(browser, x, y, RED)
    assert has_colour(browser, 28, 40, expected[40, 28])
    assert browser.value("document.querySelector('dl').innerText").split("\n")[-1] == "12"
    inside = "document.documentElement.scrollWidth <= innerWidth"
    assert browser.value(f"{inside} && view.getBoundingClientRect().bottom <= innerHeight")
    page.close()


def test_the_page_tells_the_end_and_goes_on_when_the_detector_is_started_again(browser):
    page = page_of(window(0, (20, 30, 36, 44)))
    browser.show(page.url)
    browser.wait_for(f"{NOTE} === 'live'")
    browser.wait_for(f"{NOTE}.startsWith('No new window for ')")
    page.close()
    browser.wait_for(f"{NOTE}.startsWith('The detector has ended')")
    assert "old" in browser.value("view.className")
    port = int(page.url.rstrip("/").rpartition(":")[2])
    again = page_of(window(1, (50, 5, 60, 40)), port)
    browser.wait_for(f"{NOTE} === 'live'")
    assert has_colour(browser, 50, 30, GREEN) and not has_colour(browser, 20, 40, RED)
    again._server.shutdown()  # as if it was killed
    again._server.server_close()
    browser.wait_for(f"{NOTE} === 'The detector does not answer. Trying again.'")
