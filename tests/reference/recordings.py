"""The raw recordings that the reference preprocessed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.reference.raw_recording import RawRecording

RAW_RECORDINGS = (
    RawRecording(
        "train",
        "train_day_0001",
        num_events=4000,
        duration_us=1_200_000,
        first_label_us=33_000,
        labels_hz=60,
        signed_polarity=True,
        late_label=17,
    ),
    RawRecording(
        "train",
        "train_night_0002",
        num_events=2500,
        duration_us=1_000_000,
        first_label_us=101_000,
        labels_hz=30,
        signed_polarity=True,
        late_label=4,
        unlabelled_us=(400_000, 730_000),
        silent_us=(250_000, 400_000),
    ),
    RawRecording(
        "val",
        "val_day_0001",
        num_events=2000,
        duration_us=700_000,
        first_label_us=61_000,
        labels_hz=60,
        signed_polarity=False,
        late_label=9,
        unlabelled_us=(250_000, 380_000),
    ),
    RawRecording(
        "test",
        "test_night_0001",
        num_events=2000,
        duration_us=800_000,
        first_label_us=90_000,
        labels_hz=30,
        signed_polarity=False,
        late_label=6,
    ),
)

# Of Gen1's sensor and classes, labelled four times a second or once, as it is.
GEN1_RECORDINGS = (
    RawRecording(
        "train",
        "17-03-30_12-53-58_1037500000_1097500000",
        num_events=6000,
        duration_us=1_800_000,
        first_label_us=30_000,
        labels_hz=4,
        signed_polarity=True,
        late_label=4,
        width=304,
        height=240,
        num_classes=2,
    ),
    RawRecording(
        "val",
        "17-04-13_15-05-43_1000000_61000000",
        num_events=6000,
        duration_us=1_750_000,
        first_label_us=205_000,
        labels_hz=4,
        signed_polarity=False,
        late_label=5,
        unlabelled_us=(700_000, 1_200_000),
        width=304,
        height=240,
        num_classes=2,
    ),
    RawRecording(
        "test",
        "17-04-14_15-18-27_1281000000_1341000000",
        num_events=10_000,
        duration_us=3_300_000,
        first_label_us=190_000,
        labels_hz=1,
        signed_polarity=False,
        late_label=1,
        silent_us=(1_000_000, 1_300_000),
        width=304,
        height=240,
        num_classes=2,
    ),
    # The reference leaves out four recordings by name, since no box would remain; this is one.
    RawRecording(
        "test",
        "17-04-06_15-14-36_1159500000_1219500000",
        num_events=500,
        duration_us=900_000,
        first_label_us=200_000,
        labels_hz=4,
        signed_polarity=False,
        late_label=0,
        width=304,
        height=240,
        num_classes=2,
        only_small_boxes=True,
    ),
)


def write_recordings(
    root: Path, recordings: Sequence[RawRecording] = RAW_RECORDINGS, ending: str = "td.h5"
) -> Path:
    """``ending`` of the recordings' names: see :meth:`RawRecording.write`."""
    for recording in recordings:
        recording.write(root, ending)
    return root
