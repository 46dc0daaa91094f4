"""Rules that turn the numbers of a data set into warnings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from etram_mmdet.analysis.dataset.box_events import LEAST_PER_PX
from etram_mmdet.analysis.dataset.census import BoxSizes, Census, RecordingCensus
from etram_mmdet.analysis.dataset.strides import (
    LARGEST_PER_STRIDE,
    MOST_BEYOND,
    share_over,
    shares_under,
)
from etram_mmdet.events.preprocessing.frame_times import labels_per_s
from etram_mmdet.events.preprocessing.plausibility.frames import differing_rates
from etram_mmdet.utils.text import number, percent

LEAST_BOXES = 20  # boxes of a class in a split; with fewer a typical box means nothing
MOST_SMALL_DIFFERENCE = 0.10
MOST_MIX_DISTANCE = 0.20
MOST_DROPPED = 0.20
MOST_EMPTY = 0.05  # share of boxes
MOST_SHRUNK = 0.5  # share of events
# Shapes and sizes that the typical box of a class should have, by lower-case name. Other classes
# may have any order of size, because of perspective.
TALLER_THAN_WIDE = ("pedestrian",)
LARGER_THAN_PEDESTRIAN = ("car", "vehicle", "truck", "bus", "tram")


def find_warnings(census: Census) -> list[str]:
    """Returns a sentence for everything that deserves a look, the census's problems not included.

    Args:
        census: numbers of the data set.
    """
    rules = (
        _missing_classes,
        _odd_boxes,
        _size_mix,
        _empty_boxes,
        _cameras,
        _shrunk_away,
        _shared_names,
        _dropped_boxes,
        _assumed_size,
        _empty_frames,
        _frame_rates,
    )
    return [sentence for rule in rules for sentence in rule(census)]


def _missing_classes(census: Census) -> Iterator[str]:
    anywhere = set(census.boxes().labels.tolist())
    nowhere = [name for label, name in enumerate(census.classes) if label not in anywhere]
    if nowhere:
        advice = (
            "a detector cannot learn them; choose a class set without them: class_set, --classes"
        )
        yield f"no box of {', '.join(nowhere)} in any split; {advice}"
    for split in census.splits:
        present = set(census.boxes(split).labels.tolist())
        missing = [census.classes[label] for label in sorted(anywhere - present)]
        if missing:
            consequence = (
                "a detector cannot learn them"
                if split == "train"
                else "no AP can be measured for them there"
            )
            yield f"{split}: no box of {', '.join(missing)}; {consequence}"


def _odd_boxes(census: Census) -> Iterator[str]:
    hint = f"check that the label files follow class_set {census.class_set!r}"
    for split in census.splits:
        boxes = census.boxes(split)
        typical = {
            name.lower(): _typical_box(boxes.of_class(label))
            for label, name in enumerate(census.classes)
        }
        typical = {name: box for name, box in typical.items() if box}
        for name in TALLER_THAN_WIDE:
            if name in typical and typical[name][0] > typical[name][1]:
                size = _text(typical[name])
                yield f"{split}: the typical {name} is wider than tall ({size}); {hint}"
        for name in LARGER_THAN_PEDESTRIAN:
            if (
                name in typical
                and "pedestrian" in typical
                and typical[name][2] < typical["pedestrian"][2]
            ):
                sizes = f"{_text(typical[name])} to {_text(typical['pedestrian'])}"
                yield (
                    f"{split}: the typical {name} is smaller than the typical pedestrian "
                    f"({sizes}); {hint}"
                )


def _typical_box(boxes: BoxSizes) -> tuple[float, float, float] | None:
    """Returns median width, height (px) and area (px²) of boxes.

    With fewer than `LEAST_BOXES` boxes it returns ``None``.
    """
    if len(boxes.labels) < LEAST_BOXES:
        return None
    return tuple(
        float(np.median(values)) for values in (boxes.widths_px, boxes.heights_px, boxes.areas_px2)
    )


def _text(box: tuple[float, float, float]) -> str:
    return f"{box[0]:.0f}x{box[1]:.0f} px"


def _size_mix(census: Census) -> Iterator[str]:
    train = census.boxes("train").size_mix()
    for split in ("val", "test"):
        mix = census.boxes(split).size_mix()
        # NaN if a split has no boxes, which gives no warning.
        distance = np.abs(mix - train).sum() / 2
        if abs(mix[0] - train[0]) > MOST_SMALL_DIFFERENCE or distance > MOST_MIX_DISTANCE:
            yield (
                f"{split}: {_percent(mix)} of the boxes are small, medium and large, in train "
                f"{_percent(train)}; results on {split} are about other sizes than the trained ones"
            )


def _percent(mix: np.ndarray) -> str:
    return "/".join(number(100 * share) for share in mix) + " %"


def _empty_boxes(census: Census) -> Iterator[str]:
    for split in census.splits:
        found = census.box_events(split)
        share = found.empty_share if found else None
        if share is not None and share > MOST_EMPTY:
            yield (
                f"{split}: {percent(share, 0)} of the boxes hold almost no events (under "
                f"{LEAST_PER_PX:g} for each pixel); such objects do not move or are far away, and "
                "no detector can find them from events"
            )


def _cameras(census: Census) -> Iterator[str]:
    found = {split: census.box_events(split) for split in census.splits}
    cameras = {split: events.camera for split, events in found.items() if events and events.camera}
    if len(set(cameras.values())) > 1:
        shares = {split: percent(found[split].inside_share, 0) for split in cameras}
        listed = ", ".join(
            f"{split} has a {camera} camera ({shares[split]} of the events in boxes)"
            for split, camera in cameras.items()
        )
        yield (
            f"the camera moves in some splits only: {listed}; results of one kind say little about "
            "the other"
        )


def _shrunk_away(census: Census) -> Iterator[str]:
    events, left_out = census.total("events_in_frames"), census.total("events_left_out")
    if events and left_out is not None and left_out > MOST_SHRUNK * events:
        ways = ", ".join(sorted({r.downsample for r in census.recordings}))
        yield (
            f"downsample {ways} leaves out {left_out:,} of the {events:,} events in frames "
            f"({percent(left_out / events, 0)}); --downsample sum keeps them, --downsample none "
            "keeps the full resolution too"
        )


def stride_warnings(census: Census, strides: Sequence[int]) -> list[str]:
    """Returns a sentence for each split whose boxes do not fit the strides of a model.

    Args:
        census: numbers of the data set.
        strides: strides of the model, in network pixels.
    """
    told = ", ".join(map(str, strides))
    finer = "finer strides (configs/patch2.py has 2, 4, 8) or --downsample none"
    coarser = "coarser strides (configs/baseline.py has 8, 16, 32)"
    sentences = []
    for split, under in shares_under(census, min(strides)).items():
        for share, what, remedy in (
            (
                under,
                f"a side under {min(strides)} px, the finest stride",
                finer,
            ),
            (
                share_over(census.boxes(split), strides),
                f"a side over {LARGEST_PER_STRIDE * max(strides)} px",
                coarser,
            ),
        ):
            if share > MOST_BEYOND:
                sentences.append(
                    f"{split}: {percent(share, 0)} of the boxes have {what} (strides {told}); use "
                    f"{remedy}"
                )
    return sentences


def _shared_names(census: Census) -> Iterator[str]:
    splits_of = defaultdict(set)
    for recording in census.recordings:
        splits_of[recording.name].add(recording.split)
    for name, splits in sorted(splits_of.items()):
        if len(splits) > 1:
            listed = " and ".join(s for s in census.splits if s in splits)
            yield (
                f"{name}: is in {listed}; if it is the same recording, results are too good, so "
                "keep it in one split only"
            )


def _dropped_boxes(census: Census) -> Iterator[str]:
    for split in census.splits:
        share = census.dropped_share(split)
        if share is not None and share > MOST_DROPPED:
            counts = Counter(census.dropped_boxes(split)).most_common()
            listed = ", ".join(f"{rule} {count}" for rule, count in counts if count)
            yield (
                f"{split}: {percent(share, 0)} of the boxes are dropped ({listed}); check their "
                "coordinates"
            )


def _assumed_size(census: Census) -> Iterator[str]:
    assumed = [r for r in census.recordings if r.size_is_assumed]
    for width, height in sorted({r.size_px for r in assumed}):
        of_size = [r for r in assumed if r.size_px == (width, height)]
        yield f"sensor size not in the file, taken as {width}x{height}: {_names_of(of_size)}"


def _empty_frames(census: Census) -> Iterator[str]:
    for split in census.splits:
        empty = [r for r in census.of(split) if r.frames_without_events]
        if empty:
            count = sum(r.frames_without_events for r in empty)
            yield f"{split}: {count} labelled frames without a single event, in {_names_of(empty)}"


def _frame_rates(census: Census) -> Iterator[str]:
    sentence = differing_rates(
        (f"{r.split}/{r.name}", labels_per_s(r.label_us)) for r in census.recordings
    )
    if sentence:
        yield sentence


def _names_of(recordings: list[RecordingCensus], most: int = 5) -> str:
    more = f" and {len(recordings) - most} more" if len(recordings) > most else ""
    return ", ".join(r.name for r in recordings[:most]) + more
