"""Labels hours away from the events: which one it is, and no hours of empty frames."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.datasets.raw_event_dataset import RecordingSequence
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.limits import MAX_QUIET_US
from etram_mmdet.events.preprocessing import recording as preprocess
from etram_mmdet.events.preprocessing.recording import preprocess_recording
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.representations.stacked_histogram import StackedHistogram
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import make_boxes, make_events, write_recording

HOUR_US = 3_600_000_000
TIMES_US = np.arange(1, 8) * 50_000


@pytest.fixture
def frames_made(monkeypatch) -> list[int]:
    made = []
    real = StackedHistogram.__call__
    monkeypatch.setattr(
        StackedHistogram,
        "__call__",
        lambda self, events, *args, **kw: made.append(1) or real(self, events, *args, **kw),
    )
    return made


def source_of(tmp_path, events, boxes) -> Source:
    path = write_recording(tmp_path / "train", "a", events, boxes)
    return Source("train", "a", path, tmp_path / "train" / "a_bbox.npy")


@pytest.mark.parametrize(
    ("row", "start_us", "odd_us", "where"),
    [
        (7, 0, 9 * HOUR_US, "32,400 s after the last event"),
        (0, 10 * HOUR_US, HOUR_US, "32,400 s before the first event"),
    ],
)
def test_one_label_hours_away_is_named_and_makes_no_frames(
    tmp_path, frames_made, row, start_us, odd_us, where
):
    """Also with keep_implausible=True."""
    boxes = make_boxes(np.insert(TIMES_US + start_us, row, odd_us))
    source = source_of(tmp_path, make_events(start_us=start_us), boxes)
    place = rf"\(row {row} of a_bbox.npy, t = {odd_us}\)"
    with pytest.raises(InputError, match=rf"up to 32,400 s {place}.*--keep-implausible"):
        preprocess_recording(source, tmp_path / "out", PreprocessSettings())
    settings = PreprocessSettings()
    with pytest.raises(
        InputError, match=rf"a_bbox.npy: a label lies {where} {place}, expected at most 600 s"
    ):
        preprocess_recording(source, tmp_path / "out", settings, keep_implausible=True)
    with pytest.raises(InputError, match=f"a label lies {where}"):
        RecordingSequence(source, settings, get_class_set("etram8"), keep_implausible=True)
    assert not frames_made and not (tmp_path / "out").exists()


def test_the_label_is_named_as_its_file_has_it(tmp_path):
    """Rows out of order, times in milliseconds, and another start."""
    times_ms = np.append(TIMES_US, 9 * HOUR_US)[[3, 7, 1, 0, 2, 4, 5, 6]] // 1000
    source = source_of(tmp_path, make_events(start_us=HOUR_US), make_boxes(times_ms))
    settings = PreprocessSettings(label_time_unit="ms", label_offset_us=HOUR_US)
    with pytest.raises(InputError, match=r"\(row 1 of a_bbox.npy, t = 32400000\)"):
        preprocess_recording(source, tmp_path / "out", settings)
    np.save(tmp_path / "train" / "a_label_times.npy", [100, 40_000_000, 200])
    with pytest.raises(InputError, match=r"\(row 1 of a_label_times.npy, t = 40000000\)"):
        preprocess_recording(source, tmp_path / "out", settings)


def test_a_gap_within_the_events_makes_few_frames(tmp_path, frames_made, monkeypatch):
    monkeypatch.setattr(preprocess, "MAX_QUIET_US", 2_000_000)
    later = make_events(start_us=HOUR_US // 60)
    events = {name: np.concatenate([column, later[name]]) for name, column in make_events().items()}
    source = source_of(tmp_path, events, make_boxes(np.append(TIMES_US, TIMES_US + HOUR_US // 60)))
    with pytest.raises(
        InputError, match=r"no events for 2 s after 3\d+ us, but a later label \(row 7 of a_bbox"
    ):
        preprocess_recording(source, tmp_path / "out", PreprocessSettings(), keep_implausible=True)
    assert 40 < len(frames_made) < 60 and not (tmp_path / "out").exists()


def test_labels_of_a_longer_recording_make_few_frames(tmp_path, frames_made, monkeypatch):
    monkeypatch.setattr(preprocess, "MAX_QUIET_US", 2_000_000)
    source = source_of(tmp_path, make_events(), make_boxes(np.arange(1, 1000) * 50_000))
    with pytest.raises(
        InputError,
        match=r"no events for 2 s after 3\d+ us, but a later label \(row 4\d of a_bbox",
    ):
        preprocess_recording(source, tmp_path / "out", PreprocessSettings())
    assert len(frames_made) < 60


def test_labels_a_little_outside_are_what_they_were(tmp_path):
    """With --keep-implausible, up to the limit."""
    source = source_of(tmp_path, make_events(), make_boxes([*TIMES_US, 5_000_000]))
    manifest = preprocess_recording(
        source, tmp_path / "out", PreprocessSettings(), keep_implausible=True
    )
    assert manifest["num_frames"] == 8 and MAX_QUIET_US == 600_000_000
