"""The raw recordings that the reference preprocessed."""

from __future__ import annotations

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


def write_recordings(root: Path) -> Path:
    for recording in RAW_RECORDINGS:
        recording.write(root)
    return root
