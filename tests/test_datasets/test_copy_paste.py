"""Pasted road users bring their events and boxes along and move on from clip to clip."""

from __future__ import annotations

import pickle
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from etram_mmdet.datasets import ClipRequest, StreamBatchSampler
from etram_mmdet.datasets.recording_frames import RecordingFrames
from etram_mmdet.datasets.transforms.copy_paste import (
    ClipCopyPaste,
    Paste,
    Tubelet,
    find_tubelets,
    overlaps,
    paste_pixels,
)
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.utils.errors import InputError

H, W, FRAMES = 16, 40, 60
CAR, BUS = 1, 3
ALONE = [dict(type="ClipCopyPaste", prob=1.0, period_frames=4), dict(type="PackClip")]


class FakeSequence(RecordingFrames):
    """A recording with boxes ``rows`` and frames ``pixels`` (FRAMES, 2, H, W).

    ``rows`` are (frame, x, y, w, h, class, track); every second frame is labelled.
    """

    def __init__(self, rows=(), labelled=range(0, FRAMES, 2), dtype=np.uint8, hw=(H, W)):
        boxes = np.array([(*row, 1.0) for row in sorted(rows)], BBOX_DTYPE)
        labelled = np.array(labelled)
        first_row = np.searchsorted(boxes["t"], labelled)
        super().__init__(
            "fake",
            (2, *hw),
            np.dtype(dtype),
            1,
            np.arange(FRAMES) * 50_000,
            labelled,
            boxes,
            first_row,
            get_class_set("etram8"),
            Path("fake_bbox.npy"),
        )
        self.pixels = np.zeros((FRAMES, 2, *hw), dtype)

    def read(self, start, stop):
        return self.pixels[start:stop].copy()


def track(frames, x=10.0, y=4.0, w=6.0, h=5.0, label=BUS, track_id=5, speed=0.0):
    return [(f, x + speed * f, y, w, h, label, track_id) for f in frames]


def fake_dataset(*sequences):
    return SimpleNamespace(
        sequences=list(sequences),
        folder=Path("somewhere/train"),
        metainfo=get_class_set("etram8").metainfo,
        read_frames=lambda sequence, request: sequence.read(request.start, request.stop),
    )


def clip(dataset, start=0, stop=10, seed=(1, 2), recording=0):
    """What a pipeline gets, as ``ETraMDataset`` puts it together."""
    sequence, frames = dataset.sequences[recording], range(start, stop)
    return dict(
        frames=sequence.read(start, stop),
        bboxes=[sequence.boxes_of(i)[0] for i in frames],
        labels=[sequence.boxes_of(i)[1] for i in frames],
        tracks=[sequence.tracks_of(i) for i in frames],
        frame_metas=[dict(is_labelled=bool(np.isin(i, sequence.labelled))) for i in frames],
        dataset=dataset,
        request=ClipRequest(recording, start, stop, is_first=True, lane=0, seed=seed),
        rng=np.random.default_rng(seed),
    )


def shift_of(out, x=10.0):
    """How far the only pasted box of a clip's first frame was moved."""
    return int(out["bboxes"][0][0, 0] - x)


def test_pasted_values_and_boxes_by_hand():
    recipient, donor = FakeSequence(), FakeSequence(track((6, 8, 10), x=10.5, w=5.2, speed=0.5))
    recipient.pixels[:] = 9
    donor.pixels[:, 0, 5, 13] = (
        101  # x at frame 6: 13.5 to 18.7, so pixels 13 to 18; from frame 7 on 14 to ...
    )
    donor.pixels[:, 1, 8, 18] = np.arange(FRAMES)
    donor.pixels[:, :, 5, 12] = donor.pixels[:, :, 9, 14] = donor.pixels[:, :, 3, 14] = (
        77  # just outside
    )
    dataset = fake_dataset(recipient, donor)
    out = ClipCopyPaste(prob=1.0)(clip(dataset))
    shift = shift_of(out, 13.5)
    expected = np.full((10, 2, H, W), 9)
    expected[0, 0, 5, 13 + shift] = 101
    expected[:5, 1, 8, 18 + shift] = [6, 7, 8, 9, 10]
    assert np.array_equal(out["frames"], expected)
    first = np.array([[13.5 + shift, 4, 18.7 + shift, 9]])
    for frame in range(10):
        on_screen = frame in (
            0,
            2,
            4,
        )  # of frames 0 to 4 of the tubelet, those that the recipient labels
        assert out["labels"][frame].tolist() == [BUS] * on_screen
        assert (
            out["bboxes"][frame].shape == (on_screen, 4)
            and out["bboxes"][frame].dtype == np.float32
        )
        if on_screen:
            np.testing.assert_allclose(
                out["bboxes"][frame], first + np.array([0.5, 0, 0.5, 0]) * frame, atol=1e-5
            )


def test_boxes_between_labels_lie_on_a_straight_line():
    tubelet = Tubelet(
        0, BUS, np.array([4, 8, 10]), np.array([[0, 2, 10, 8], [8, 2, 18, 12], [8, 4, 18, 12]])
    )
    assert tubelet.bbox_at(4).tolist() == [0, 2, 10, 8]
    assert tubelet.bbox_at(5).tolist() == [2, 2, 12, 9]
    assert tubelet.bbox_at(9).tolist() == [8, 3, 18, 12]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_the_recipient_keeps_what_it_has_elsewhere(dtype):
    rng = np.random.default_rng(0)
    low = -1 if dtype == np.int8 else 0
    recipient = FakeSequence(track(range(0, 60, 2), x=30, label=CAR, track_id=2), dtype=dtype)
    donor = FakeSequence(track(range(0, 30, 2)), dtype=dtype)
    recipient.pixels[:] = rng.integers(2, 9, recipient.pixels.shape)
    donor.pixels[:] = rng.integers(low, 2, donor.pixels.shape)
    dataset = fake_dataset(recipient, donor)
    before, out = clip(dataset), ClipCopyPaste(prob=1.0, classes=("bus",))(clip(dataset))
    x1, y1, x2, y2 = out["bboxes"][0][1].astype(int)
    inside = np.zeros((H, W), bool)
    inside[y1:y2, x1:x2] = True
    assert np.array_equal(out["frames"][..., ~inside], before["frames"][..., ~inside])
    pasted = out["frames"][..., inside]
    assert out["frames"].dtype == dtype
    assert set(np.unique(pasted)) == set(range(low, 9)) - {0}
    kept = pasted >= 2
    assert np.array_equal(pasted[kept], before["frames"][..., inside][kept])
    for frame in range(10):
        count = len(before["bboxes"][frame])
        assert np.array_equal(out["bboxes"][frame][:count], before["bboxes"][frame])
        assert out["labels"][frame][:count].tolist() == before["labels"][frame].tolist()
        assert len(out["labels"][frame]) == len(out["tracks"][frame]) == 2 * count
    fresh = {int(t[1]) for t in out["tracks"] if len(t)}
    assert len(fresh) == 1 and not fresh & {2, 5}


@pytest.mark.parametrize("period", [3, 7, 20])
def test_two_halves_show_what_the_whole_clip_shows(period):
    rng = np.random.default_rng(0)
    recipient = FakeSequence(track(range(0, 60, 2), x=30, label=CAR, track_id=2))
    donor = FakeSequence(
        track(range(0, 40, 2), speed=0.4) + track(range(30, 60, 2), y=10, track_id=8, label=CAR)
    )
    donor.pixels[:] = rng.integers(0, 3, donor.pixels.shape)
    dataset, transform = (
        fake_dataset(recipient, donor),
        ClipCopyPaste(prob=0.7, period_frames=period),
    )
    changed = 0
    for seed in range(12):
        whole = transform(clip(dataset, 12, 22, seed=(seed,)))
        halves = [transform(clip(dataset, a, b, seed=(seed,))) for a, b in ((12, 17), (17, 22))]
        assert np.array_equal(whole["frames"], np.concatenate([half["frames"] for half in halves]))
        for name in ("bboxes", "labels", "tracks"):
            assert all(map(np.array_equal, whole[name], halves[0][name] + halves[1][name]))
        changed += not np.array_equal(whole["frames"], clip(dataset, 12, 22)["frames"])
    assert changed > 6


def test_seeds_and_windows_differ():
    donor = FakeSequence(track(range(0, 60, 2)))
    donor.pixels[:] = 1
    dataset, transform = fake_dataset(FakeSequence(), donor), ClipCopyPaste(prob=1.0)
    clips = {
        (s, start): clip(dataset, start, start + 2, (s,)) for s in range(150) for start in (0, 20)
    }
    shifts = {key: shift_of(transform(results)) for key, results in clips.items()}
    assert set(shifts.values()) == set(
        range(-10, W - 16)
    )  # the box stays in the frame, and gets everywhere
    assert any(shifts[s, 0] != shifts[s, 20] for s in range(150))
    some = [len(ClipCopyPaste()(clip(dataset, seed=(s,)))["bboxes"][0]) for s in range(100)]
    assert 35 < sum(some) < 65


def test_long_tubelets_fill_the_window_and_short_ones_end():
    long, short = FakeSequence(track(range(0, 60, 2))), FakeSequence(track((30, 32)))
    for seed in range(20):
        out = ClipCopyPaste(prob=1.0)(clip(fake_dataset(FakeSequence(), long), 0, 40, (seed,)))
        assert [len(b) for b in out["bboxes"]] == [1, 0] * 20
        out = ClipCopyPaste(prob=1.0)(clip(fake_dataset(FakeSequence(), short), 0, 40, (seed,)))
        assert [f for f, b in enumerate(out["bboxes"]) if len(b)] == [0, 2, 20, 22]


def test_a_tubelet_starts_anywhere():
    donor = FakeSequence(track(range(0, 60, 2)))
    donor.pixels[:, 0, 4:9, 10:16] = np.arange(FRAMES)[:, None, None] + 1
    dataset, transform = fake_dataset(FakeSequence(), donor), ClipCopyPaste(prob=1.0)
    clips = [
        transform(clip(dataset, seed=(seed,)))["frames"][:, 0].max((1, 2)).astype(int) - 1
        for seed in range(300)
    ]
    assert {frames[0] for frames in clips} == set(
        range(58 - 20 + 2)
    )  # frames 0 to 58, of which 20 follow
    assert all((np.diff(frames) == 1).all() for frames in clips)


def test_boxes_that_leave_the_frame_are_cut_and_then_lost():
    donor = FakeSequence(track((0, 2, 4, 6, 8), x=2, w=8, speed=3))
    donor.pixels[:] = 1
    transform = ClipCopyPaste(prob=1.0, min_visible=0.1)
    transform._draw = lambda by_class, seed, window, width: paste(by_class[0][0], 12)
    out = transform(clip(fake_dataset(FakeSequence(), donor)))
    # x1 is 14, 20, 26, 32, 38 at labelled frames: the last shows 2 of 8 px, and its box ends at the
    # last pixel
    assert [b.tolist() for b in out["bboxes"][::2]] == [
        [[x, 4, min(x + 8, W - 1), 9]] for x in (14, 20, 26, 32, 38)
    ]
    assert [int(f[0].sum()) for f in out["frames"][:9:2]] == [40, 40, 40, 40, 10]
    transform.min_visible = 0.3
    lost = transform(clip(fake_dataset(FakeSequence(), donor)))
    assert [len(b) for b in lost["bboxes"][::2]] == [1, 1, 1, 1, 0]
    assert (
        [len(b) for b in lost["labels"]]
        == [len(b) for b in lost["tracks"]]
        == [len(b) for b in lost["bboxes"]]
    )
    assert np.array_equal(lost["frames"], out["frames"])


def paste(tubelet, shift_px):
    return Paste(tubelet, first=int(tubelet.frames[0]), shift_px=shift_px, start=0, track=1)


@pytest.mark.parametrize("shift", [-30, -18, -17, -10, 0, 23, 30])
def test_pixels_outside_the_frame_are_left_out(shift):
    """The result is compared with a canvas that is wide enough for everything."""
    donor = np.random.default_rng(0).integers(0, 3, (2, H, W), np.uint8)
    frame, canvas = np.full((2, H, W), 9, np.uint8), np.full((2, H, 3 * W), 9, np.uint8)
    box = np.array([10.2, 3, 17, 7.1], np.float32)
    paste_pixels(frame, donor, box, shift)
    for y in range(3, 8):
        for x in range(10, 17):
            values = donor[:, y, x]
            target = canvas[:, y, W + x + shift]
            target[values != 0] = values[values != 0]
    assert np.array_equal(frame, canvas[..., W : 2 * W])


def runs_of(*rows, **kwargs):
    """Frames of every tubelet."""
    return [
        tubelet.frames.tolist()
        for tubelet in find_tubelets(FakeSequence(chain(*rows), **kwargs), 0)
    ]


def test_tubelets_are_runs_of_labelled_frames():
    assert runs_of(track((0, 2, 4))) == [[0, 2, 4]]
    assert runs_of(track((0, 2, 4)) + track((8, 10))) == [[0, 2, 4], [8, 10]]  # not seen at 6
    assert runs_of(track((0,))) == runs_of(track((0, 4, 8))) == []  # never twice in a row
    assert runs_of(track((0, 2)), track((2, 4), y=10, track_id=6)) == [[0, 2], [2, 4]]
    assert runs_of(track((0, 2), label=CAR), track((4, 6))) == [[0, 2], [4, 6]]  # another class
    assert runs_of(track((0, 2)), track((4, 6), track_id=6)) == [[0, 2], [4, 6]]
    assert runs_of(track((0, 10, 22, 30)), labelled=(0, 10, 22, 30)) == [
        [0, 10],
        [22, 30],
    ]  # 12 frames are too far


def test_recordings_without_track_ids_offer_nothing():
    assert runs_of(track((0, 2, 4), track_id=0)) == []
    assert runs_of(track((0, 2, 4), track_id=0), track((0, 2), y=10, track_id=1)) == [
        [0, 2, 4],
        [0, 2],
    ]


def test_a_track_twice_in_a_frame_is_none():
    assert runs_of(track((0, 2, 4)), track((4,), y=10), track((0, 2), x=25, track_id=6)) == [[0, 2]]


def test_a_neighbour_ends_a_run():
    neighbour = track((4,), x=12, track_id=6)
    assert runs_of(track((0, 2, 4, 6, 8)), neighbour) == [[0, 2], [6, 8]]
    far = track((4,), x=15.5, track_id=6)  # IoU 2.5 / 57.5
    assert runs_of(track((0, 2, 4, 6, 8)), far) == [[0, 2, 4, 6, 8]]


def covered(a, b):
    """Share of the smaller box."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def test_overlaps_are_found_in_any_order():
    rng = np.random.default_rng(0)
    frames = np.sort(rng.integers(0, 8, 60))
    corner = rng.uniform(0, 20, (60, 2))
    bboxes = np.concatenate([corner, corner + rng.uniform(2, 8, (60, 2))], 1)
    expected = np.zeros(60, bool)
    for i in range(60):
        for j in range(60):
            if i != j and frames[i] == frames[j]:
                expected[i] |= covered(bboxes[i], bboxes[j]) > 0.1
    assert 5 < expected.sum() < 55 and np.array_equal(overlaps(frames, bboxes), expected)
    assert overlaps(frames[:0], bboxes[:0]).tolist() == [] and overlaps(
        frames[:1], bboxes[:1]
    ).tolist() == [False]


def test_objects_cut_by_the_side_of_the_frame_are_not_taken():
    assert runs_of(track((0, 2, 4, 6), x=0, speed=1)) == [[2, 4, 6]]
    assert runs_of(track((0, 2, 4, 6), x=30, speed=1)) == [
        [0, 2]
    ]  # right edge 36, 38, then W - 1 = 39
    assert runs_of(track((0, 2), y=0, h=H)) == [[0, 2]]  # rows stay where they are


def test_rare_classes_are_drawn_more_often():
    """Nine cars and one bus: weights 1/3 and 1."""
    cars = [row for k in range(9) for row in track((6 * k, 6 * k + 2), label=CAR, track_id=k + 10)]
    dataset = fake_dataset(FakeSequence(), FakeSequence(cars + track((56, 58))))

    def labels(**kwargs):
        transform = ClipCopyPaste(prob=1.0, **kwargs)
        return np.array(
            [transform(clip(dataset, seed=(seed,)))["labels"][0][0] for seed in range(300)]
        )

    assert (labels() == BUS).mean() == pytest.approx(0.75, abs=0.07)
    assert set(labels(classes=("car", "tram"))) == {CAR}
    assert set(labels(classes=["bus"])) == {BUS}


def test_every_tubelet_of_a_class_is_drawn():
    first, second = (
        FakeSequence(track((0, 2), y=2)),
        FakeSequence(track((0, 2), y=5) + track((10, 12), y=8, track_id=7)),
    )
    dataset, transform = fake_dataset(first, second), ClipCopyPaste(prob=1.0)
    rows = [
        transform(clip(dataset, 20, 24, seed=(seed,)))["bboxes"][0][0, 1] for seed in range(300)
    ]
    assert [rows.count(y) for y in (2, 5, 8)] == pytest.approx([100] * 3, abs=30)


def test_nothing_to_paste_is_a_sentence():
    dataset = fake_dataset(FakeSequence(track((0, 2), track_id=0)))
    with pytest.raises(
        InputError,
        match=r"^somewhere/train: nothing for ClipCopyPaste to paste.*track_id.*pedestrian",
    ):
        ClipCopyPaste(prob=0.0)(clip(dataset))
    with pytest.raises(InputError, match="tram over two"):
        ClipCopyPaste(classes=("tram",))(clip(fake_dataset(FakeSequence(track((0, 2))))))
    with pytest.raises(
        InputError, match=r"unknown classes \['bicyle'\], expected some of pedestrian, car, bicycle"
    ):
        ClipCopyPaste(classes=("bicyle", "bus"))(clip(dataset))


def test_donors_of_another_shape_are_not_used():
    dataset = fake_dataset(FakeSequence(), FakeSequence(track((0, 2)), hw=(H, W + 1)))
    with pytest.raises(InputError, match="nothing for ClipCopyPaste"):
        ClipCopyPaste()(clip(dataset))


def test_probability_zero_changes_nothing():
    dataset = fake_dataset(FakeSequence(track(range(0, 60, 2))))
    before, after = clip(dataset), ClipCopyPaste(prob=0.0)(clip(dataset))
    assert np.array_equal(before["frames"], after["frames"])
    assert all(
        map(np.array_equal, before["bboxes"] + before["tracks"], after["bboxes"] + after["tracks"])
    )


def test_inputs_are_not_changed():
    dataset = fake_dataset(FakeSequence(), FakeSequence(track(range(0, 60, 2))))
    dataset.sequences[1].pixels[:] = 1
    before, after = clip(dataset), clip(dataset)
    after["frames"].flags.writeable = False
    assert len(ClipCopyPaste(prob=1.0)(after)["bboxes"][0]) == 1
    assert np.array_equal(before["frames"], after["frames"]) and not any(map(len, after["bboxes"]))


def test_padding_stays_empty(sample):
    dataset = build(sample, pipeline=ALONE)
    item = dataset[ClipRequest(0, 3, 5, is_first=True, lane=0, seed=(1,))]
    assert not item["inputs"][2:].any() and not any(
        len(f.gt_instances) for f in item["data_samples"][2:]
    )
    empty = dataset[ClipRequest(0, 0, 0, is_first=True, lane=0, seed=())]
    assert not empty["inputs"].any() and not any(len(f.gt_instances) for f in empty["data_samples"])


def build(root, type_="ETraMDataset", **kwargs):
    return DATASETS.build(dict(type=type_, data_root=str(root), split="train") | kwargs)


def test_labels_are_searched_once(sample, monkeypatch):
    calls = []
    monkeypatch.setattr(
        RecordingFrames,
        "all_boxes",
        lambda self, real=RecordingFrames.all_boxes: calls.append(self) or real(self),
    )
    dataset = build(sample, pipeline=ALONE)
    assert not calls
    for _ in range(3):
        dataset[ClipRequest(0, 5, 10, is_first=True, lane=0, seed=(1,))]
    assert calls == dataset.sequences


def test_real_clips_gain_boxes(sample):
    dataset, plain = build(sample, pipeline=ALONE), build(sample, pipeline=ALONE[1:])
    gained, changed = 0, 0
    for segment in dataset.single_clips:
        request = ClipRequest(*segment, is_first=True, lane=0, seed=(4, segment.stop))
        item, before = dataset[request], plain[request]
        changed += not torch.equal(item["inputs"], before["inputs"])
        for frame, old in zip(item["data_samples"], before["data_samples"], strict=True):
            assert torch.equal(
                frame.gt_instances.bboxes[: len(old.gt_instances)], old.gt_instances.bboxes
            )
            new = frame.gt_instances.bboxes[len(old.gt_instances) :]
            assert frame.is_labelled or not len(new)
            assert (new >= 0).all() and (new[:, 2] <= 47).all() and (new[:, 3] <= 31).all()
            gained += len(new)
    assert gained > len(dataset.single_clips) and changed > len(dataset.single_clips) / 2


def test_workers_and_pickling_change_nothing(sample):
    pipeline = [ALONE[0], dict(type="ClipFlip"), dict(type="PackClip")]
    dataset = build(sample, pipeline=pipeline)

    def load(dataset, num_workers):
        sampler = StreamBatchSampler(SimpleNamespace(dataset=dataset, seed=3), 3, mode="mixed")
        loader = DataLoader(
            dataset, batch_sampler=sampler, num_workers=num_workers, collate_fn=pseudo_collate
        )
        return list(islice(loader, 6))

    forked, here = load(dataset, 2), load(dataset, 0)
    copied = load(
        pickle.loads(pickle.dumps(dataset)), 0
    )  # with the tubelets that were found, as a spawned worker
    for other in (forked, copied):
        for a, b in zip(here, other, strict=True):
            assert all(map(torch.equal, a["inputs"], b["inputs"]))
            for frame, twin in zip(
                chain(*a["data_samples"]), chain(*b["data_samples"]), strict=True
            ):
                assert torch.equal(frame.gt_instances.bboxes, twin.gt_instances.bboxes)
                assert torch.equal(frame.gt_instances.labels, twin.gt_instances.labels)


def test_recordings_give_the_same_clips_as_folders(sample, raw_sample):
    folder, raw = (
        build(sample, pipeline=ALONE),
        build(raw_sample, "RawEventDataset", pipeline=ALONE),
    )
    for seed in range(6):
        request = ClipRequest(seed % 2, 6, 11, is_first=True, lane=0, seed=(seed,))
        ours, theirs = raw[request], folder[request]
        assert torch.equal(ours["inputs"], theirs["inputs"])
        for a, b in zip(ours["data_samples"], theirs["data_samples"], strict=True):
            assert torch.equal(a.gt_instances.bboxes, b.gt_instances.bboxes)
