"""What MMDetection expects of a data set: mmengine's interface, wrappers, transforms of images."""

from __future__ import annotations

import pickle
import random
import shutil
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from mmdet.datasets import ConcatDataset as MMDetConcat
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    DefaultSampler,
    RepeatDataset,
    pseudo_collate,
)
from torch.utils.data import DataLoader

from etram_mmdet.datasets import ClipRequest, StreamBatchSampler, StreamEvalBatchSampler
from etram_mmdet.datasets.frame_paths import read_off_on
from etram_mmdet.datasets.statistics import digest
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.models.building import fit_to_data
from etram_mmdet.utils.errors import InputError
from tests.reference.answers import DATA

PACK = dict(type="PackClip")
BROADCAST = dict(
    type="TransformBroadcaster",
    share_random_params=True,
    transforms=[dict(type="mmdet.RandomFlip", prob=0.5)],
)


def config(root, split="train", *transforms, **kwargs) -> dict:
    pipeline = [*transforms, PACK]
    return (
        dict(type="mmdet.ETraMDataset", data_root=str(root), split=split, pipeline=pipeline)
        | kwargs
    )


def build(root, split="train", *transforms, **kwargs):
    return DATASETS.build(config(root, split, *transforms, **kwargs))


def concat(*datasets):
    return DATASETS.build(dict(type="mmdet.ConcatDataset", datasets=list(datasets)))


@pytest.fixture(scope="module")
def other_city(sample, tmp_path_factory):
    """A folder with recordings of the same names and other contents."""
    root = tmp_path_factory.mktemp("other_city")
    for number, folder in enumerate(sorted((sample / "val").iterdir())):
        shutil.copytree(folder, root / "train" / sorted((sample / "train").iterdir())[number].name)
    return root


def loader(dataset, sampler=StreamBatchSampler, **keys):
    batches = sampler(DefaultSampler(dataset, shuffle=False, seed=0), **keys)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=pseudo_collate)


# --- mmengine's interface


def test_it_is_a_base_dataset_with_the_metainfo_of_its_class_set(sample):
    dataset = build(sample)
    assert isinstance(dataset, BaseDataset)
    names = get_class_set("etram8").classes
    assert type(dataset).METAINFO["classes"] == dataset.metainfo["classes"] == names
    assert len(type(dataset).METAINFO["palette"]) == 8
    length = len(dataset)
    dataset.full_init()
    assert len(dataset) == length == sum(len(s.labelled) for s in dataset.sequences)


def test_an_integer_is_a_labelled_frame(sample):
    dataset = build(sample, test_mode=True)
    last = dataset.sequences[-1]
    frame = int(last.labelled[-1])
    info = dataset.get_data_info(len(dataset) - 1)
    assert (info["recording"], info["t_us"]) == (last.name, last.t_us[frame])
    assert (info["height"], info["width"]) == last.hw
    counted = [i for i in info["instances"] if not i["ignore_flag"]]
    assert [i["bbox"] for i in counted] == last.boxes_of(frame)[0].tolist()
    assert [i["bbox"] for i in info["instances"] if i["ignore_flag"]] == last.ignored_of(frame)[
        0
    ].tolist()
    assert (
        dataset.get_cat_ids(-1)
        == last.boxes_of(frame)[1].tolist()
        == [i["bbox_label"] for i in counted]
    )
    item = dataset[len(dataset) - 1]
    assert [f.t_us for f in item["data_samples"]] == last.t_us[frame - 4 : frame + 1].tolist()
    assert [f.is_labelled for f in item["data_samples"]] == [False] * 4 + [True]
    assert [f.is_first for f in item["data_samples"]] == [True] + [False] * 4
    assert not item["data_samples"].streamed
    for wrong in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match="no labelled frame"):
            dataset[wrong]


def test_integers_show_every_labelled_frame_once_in_evaluation_and_all_labels_in_training(sample):
    tested, trained = build(sample, test_mode=True), build(sample)
    frames = [f for i in range(len(tested)) for f in tested[i]["data_samples"] if f.is_labelled]
    assert len({(f.recording, f.t_us) for f in frames}) == len(frames) == len(tested)
    at = len(trained) - 1
    frame = int(trained.sequences[-1].labelled[-1])
    around = np.isin(np.arange(frame - 4, frame + 1), trained.sequences[-1].labelled)
    assert [
        f.is_labelled for f in trained[at]["data_samples"]
    ] == around.tolist() and around.sum() > 1


def test_integers_are_augmented_from_numpys_generator_in_training_only(sample):
    trained, tested = (
        build(sample, "train", dict(type="ClipFlip"), test_mode=t) for t in (False, True)
    )
    np.random.seed(0)
    flips = [trained[0]["data_samples"][0].flip for _ in range(20)]
    np.random.seed(0)
    assert flips == [trained[0]["data_samples"][0].flip for _ in range(20)] and 0 < sum(flips) < 20
    assert len({tested[0]["data_samples"][0].flip for _ in range(8)}) == 1


def test_mmengines_own_samplers_load_clips(sample):
    dataset = build(sample)
    sampler = DefaultSampler(dataset, shuffle=True, seed=0)
    batches = list(DataLoader(dataset, sampler=sampler, batch_size=8, collate_fn=pseudo_collate))
    assert sum(len(b["inputs"]) for b in batches) == len(dataset)
    assert all(track[0].is_first for b in batches for track in b["data_samples"])


def test_parts_of_the_frames_are_refused(sample):
    with pytest.raises(InputError, match="are no stream"):
        build(sample).get_subset(3)


# --- meta keys


def test_frames_carry_what_mmdets_parts_read(sample):
    dataset = build(sample, test_mode=True)
    sequence, before = dataset.sequences[1], dataset.sequences[0].num_frames
    first = int(sequence.labelled[0])
    track = dataset[ClipRequest(1, first, first + 3, True, lane=2, seed=())]["data_samples"]
    frame = track[0]
    assert [f.img_id for f in track] == [
        before + first,
        before + first + 1,
        before + first + 2,
        -1,
        -1,
    ]
    assert frame.img_path.endswith(f"/{sequence.name}_{sequence.t_us[first]:010d}us.png")
    assert (frame.ori_shape, frame.img_shape, frame.scale_factor, frame.flip) == (
        *[sequence.hw] * 2,
        (1, 1),
        False,
    )
    assert frame.frame_id == first
    assert (track.video_id, track.video_length, track.lane, track.streamed) == (
        1,
        sequence.num_frames,
        2,
        True,
    )
    assert frame.ori_video_length == sequence.num_frames
    counted, ignored = (
        [i["bbox"] for i in frame.instances if i["ignore_flag"] == flag] for flag in (0, 1)
    )
    assert (
        counted == frame.gt_instances.bboxes.tolist() == sequence.boxes_of(first)[0].tolist() != []
    )
    assert (
        ignored
        == frame.ignored_instances.bboxes.tolist()
        == sequence.ignored_of(first)[0].tolist()
        != []
    )
    assert all(len(padding.ignored_instances) == 0 for padding in track[3:])


@pytest.mark.parametrize("pack", [dict(type="PackClip"), dict(type="mmdet.PackTrackInputs")])
@pytest.mark.parametrize(
    "flip", [dict(type="ClipFlip", prob=1.0), dict(type="mmdet.RandomFlip", prob=1.0)]
)
def test_ignored_boxes_move_with_the_others(sample, flip, pack):
    plain, mirrored = (build(sample, "val", *pipeline, test_mode=True) for pipeline in ([], [flip]))
    mirrored = DATASETS.build(config(sample, "val", test_mode=True) | dict(pipeline=[flip, pack]))
    seen = 0
    for index in range(len(plain)):
        before, after = (dataset[index]["data_samples"][-1] for dataset in (plain, mirrored))
        for name in ("gt_instances", "ignored_instances"):
            x1, y1, x2, y2 = before.get(name).bboxes.unbind(1)
            assert torch.equal(after.get(name).bboxes, torch.stack([47 - x2, y1, 47 - x1, y2], 1))
            assert torch.equal(after.get(name).labels, before.get(name).labels)
        seen += len(before.ignored_instances)
    assert seen > 0


def test_training_is_spared_what_only_metrics_read(sample):
    frame = build(sample)[0]["data_samples"][0]
    assert "instances" not in frame and "ignored_instances" not in frame


# --- wrappers


def shown(batches, count):
    """How often each recording starts among the first batches, by its name."""
    tracks = [t for b in islice(batches, count) for t in b["data_samples"]]
    return Counter(t[0].recording for t in tracks if t[0].is_first)


def test_two_cities_are_streamed_in_one_training(sample, other_city):
    both = concat(config(sample), config(other_city))
    batches = loader(both, batch_size=2)
    streams = as_streams(both)
    assert len(streams.sequences) == 5 and len(streams) == len(both) == sum(map(len, both.datasets))
    names = [s.name for s in streams.sequences]
    assert len(set(names)) == 5 and sum("@" in name for name in names) == 4
    assert set(shown(batches, len(batches.batch_sampler))) == set(names)
    lanes = {}
    for batch in islice(batches, 12):
        for track in batch["data_samples"]:
            frame = track[0]
            if not frame.is_first:
                assert (frame.recording, frame.frame_id) == lanes[track.lane]
            lanes[track.lane] = frame.recording, track[0].frame_id + 5


def test_clips_of_a_wrapper_are_those_of_its_parts(sample, other_city):
    both = concat(config(sample), config(other_city))
    streams = as_streams(both)
    own = both.datasets[1][ClipRequest(1, 3, 8, True, lane=0, seed=())]
    (seen,) = both.__getitems__([ClipRequest(4, 3, 8, True, lane=0, seed=())])
    assert torch.equal(own["inputs"], seen["inputs"])
    pictures = [read_off_on(clip["data_samples"][0].img_path) for clip in (own, seen)]
    assert np.array_equal(*pictures) and pictures[0].any()
    assert seen["data_samples"][0].recording == own["data_samples"][0].recording + "@" + _tail(
        sample, other_city
    )
    ids = {
        f.img_id
        for i in range(5)
        for f in streams[ClipRequest(i, 0, 5, True, 0, ())]["data_samples"]
    }
    assert len(ids) == 25
    (whole,) = both.__getitems__([0])
    assert whole["data_samples"][0].recording == both.datasets[0].sequences[0].name


def _tail(one, other):
    """The last parts of the second folder that tell it from the first, as names are qualified."""
    return ".".join((other.name, "train")) if one.name != other.name else str(other)


def test_names_that_occur_once_stay(sample):
    both = as_streams(concat(config(sample), config(sample, "val")))
    assert not any("@" in s.name for s in both.sequences)
    assert (both.split, both.folder) == ("train+val", f"{sample}/train + {sample}/val")


def test_repeat_dataset_repeats_recordings(sample):
    plain = build(sample)
    twice = RepeatDataset(plain, 2)
    batches = loader(twice, batch_size=1)
    assert len(twice) == 2 * len(plain)
    assert len(batches.batch_sampler) == 2 * len(loader(plain, batch_size=1).batch_sampler)
    once = shown(loader(plain, batch_size=1), len(batches.batch_sampler) // 2)
    assert shown(batches, len(batches.batch_sampler)) == Counter(
        {name: 2 * n for name, n in once.items()}
    )
    assert digest(as_streams(twice)) != digest(plain) == digest(as_streams(RepeatDataset(plain, 1)))


class _Recordings(BaseDataset):
    """Recordings as mmengine's images, to hold our repeats against its own."""

    def __init__(self, dataset):
        self.dataset = dataset
        self._metainfo = dataset.metainfo
        self._fully_initialized = True

    def __len__(self):
        return len(self.dataset.sequences)

    def get_cat_ids(self, idx):
        return self.dataset.sequences[idx].all_boxes()[2].tolist()


def test_class_balanced_dataset_repeats_recordings_by_mmengines_rule(sample):
    plain = build(sample)
    held = [set(s.all_boxes()[2].tolist()) for s in plain.sequences]
    assert len({frozenset(h) for h in held}) > 1, (
        "the sample should have a class that not every recording holds"
    )
    streams = as_streams(ClassBalancedDataset(plain, oversample_thr=2.0))
    expected = Counter(ClassBalancedDataset(_Recordings(plain), 2.0).repeat_indices)
    assert (
        streams.times_shown == tuple(expected[i] for i in range(3))
        and len(set(streams.times_shown)) > 1
    )
    segments = Counter(s.recording for s in streams.segments)
    once = Counter(s.recording for s in plain.segments)
    assert segments == {i: n * expected[i] for i, n in once.items()}


def test_wrappers_in_wrappers_and_statistics(sample, other_city):
    both = as_streams(
        concat(dict(type="RepeatDataset", times=3, dataset=config(sample)), config(other_city))
    )
    assert both.times_shown == (3, 3, 3, 1, 1)
    parts = [build(sample).box_statistics().counts, build(other_city).box_statistics().counts]
    assert both.box_statistics().counts.tolist() == sum(parts).tolist()


WRAPS = dict(
    repeat=lambda d: RepeatDataset(d, 2),
    balanced=lambda d: ClassBalancedDataset(d, 3.0),
    same_folder_twice=lambda d: MMDetConcat([d, build(d.folder.parent, d.split, test_mode=True)]),
)


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_an_evaluation_shows_every_recording_once(sample, wrap):
    plain = build(sample, "val", test_mode=True)
    for batches in (loader(d, StreamEvalBatchSampler, batch_size=2) for d in (plain, wrap(plain))):
        tracks = [t for b in batches for t in b["data_samples"]]
        frames = [(f.recording, f.t_us) for t in tracks for f in t if f.is_labelled]
        assert len(frames) == len(set(frames)) == len(plain)


def test_a_wrapper_reaches_loading_processes(sample):
    both = concat(config(sample), config(sample, "val"))
    as_streams(both)
    copied = pickle.loads(pickle.dumps(both))
    request = ClipRequest(4, 0, 5, True, lane=0, seed=())
    pair = [dataset.__getitems__([request])[0] for dataset in (both, copied)]
    assert torch.equal(pair[0]["inputs"], pair[1]["inputs"])
    assert as_streams(copied) is copied.streams


def test_copy_paste_takes_road_users_of_all_parts(sample):
    paste = dict(type="ClipCopyPaste", prob=1.0, period_frames=4)
    both = concat(config(sample, "train", paste), config(sample, "val", paste))
    streams = as_streams(both)
    transform = both.datasets[1].pipeline.transforms[0]
    streams[ClipRequest(4, 5, 10, True, lane=0, seed=(1,))]
    assert {t.recording for of_class in transform._found[1] for t in of_class} > {3, 4}


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (
            dict(class_set="etram3_from8"),
            r"classes .* differ: pedestrian, car.* and pedestrian, vehicle",
        ),
        (dict(clip_length=3), "clip_length differ: 5 and 3"),
        (dict(test_mode=True), "test_mode differ"),
    ],
)
def test_data_sets_that_do_not_fit_are_refused_naming_both(sample, other, problem):
    with pytest.raises(
        InputError, match=rf"{sample}/train and {sample}/val cannot be combined.*{problem}"
    ):
        as_streams(concat(config(sample), config(sample, "val", **other)))


def test_frames_of_two_sizes_are_refused(sample):
    with pytest.raises(
        InputError, match=r"frames \(channels, height, width\) differ: \(20, 32, 48\) and \(20, 360"
    ):
        as_streams(concat(config(sample), config(DATA / "preprocessed_etram")))


def test_mixing_wrappers_are_refused(sample):
    mixed = DATASETS.build(
        dict(type="mmdet.MultiImageMixDataset", dataset=config(sample), pipeline=[])
    )
    with pytest.raises(InputError, match="ClipCopyPaste"):
        as_streams(mixed)


def test_a_wrapper_that_shows_nothing_is_refused(sample):
    none = DATASETS.build(dict(type="RepeatDataset", times=0, dataset=config(sample)))
    with pytest.raises(InputError, match="RepeatDataset: contains no recording"):
        as_streams(none)


def test_plugins_are_told_the_boxes_of_all_parts(sample, other_city):
    class Asks(torch.nn.Module):
        def fit_to_data(self, boxes):
            return str(len(boxes.labels))

    both = concat(config(sample), config(other_city))
    boxes = sum(len(part.box_statistics().labels) for part in both.datasets)
    assert fit_to_data(Asks(), both) == [str(boxes)]


# --- transforms of images


def clip(dataset, seed=0):
    first = int(dataset.sequences[0].labelled[0])
    return dataset[ClipRequest(0, first, first + 5, True, lane=0, seed=(seed,))]


@pytest.mark.parametrize(
    "transform",
    [
        dict(type="mmdet.RandomFlip", prob=0.5),
        BROADCAST,
        dict(type="FrameTransforms", transforms=[dict(type="mmdet.RandomFlip", prob=0.5)]),
    ],
)
def test_random_flip_mirrors_whole_streams_as_ours_does(sample, transform):
    plain, random_flip, ours = (
        build(sample),
        build(sample, "train", transform),
        build(sample, "train", dict(type="ClipFlip", prob=1.0)),
    )
    flips = []
    for seed in range(12):
        seen = clip(random_flip, seed)
        flips.append(seen["data_samples"][0].flip)
        expected = clip(ours if flips[-1] else plain, seed)
        assert torch.equal(seen["inputs"], expected["inputs"])
        for a, b in zip(seen["data_samples"], expected["data_samples"], strict=True):
            assert torch.equal(a.gt_instances.bboxes, b.gt_instances.bboxes) and a.flip == flips[-1]
            assert torch.equal(a.gt_instances.labels, b.gt_instances.labels)
        assert torch.equal(seen["inputs"], clip(random_flip, seed)["inputs"])
    assert 0 < sum(flips) < 12


def test_global_generators_are_left_alone(sample):
    dataset = build(sample, "train", dict(type="mmdet.RandomFlip", prob=0.5))
    np.random.seed(3)
    random.seed(3)
    expected = np.random.random(), random.random()
    np.random.seed(3)
    random.seed(3)
    clip(dataset)
    assert (np.random.random(), random.random()) == expected


def test_resize_and_pad(sample):
    resize = dict(type="mmdet.Resize", scale=(24, 16), interpolation="nearest")
    half = clip(build(sample, "train", resize, dict(type="mmdet.RandomFlip", prob=0.0)))
    whole = clip(build(sample))
    frame, before = half["data_samples"][0], whole["data_samples"][0]
    assert half["inputs"].shape == (5, 20, 16, 24)
    assert (frame.img_shape, frame.ori_shape, frame.scale_factor) == (
        (16, 24),
        (32, 48),
        (0.5, 0.5),
    )
    assert frame.scale == 2 * before.scale
    last_pixel = torch.tensor([23, 15] * 2)
    torch.testing.assert_close(
        frame.gt_instances.bboxes, (before.gt_instances.bboxes / 2).minimum(last_pixel)
    )


def test_signed_frames_keep_their_sign(raw_sample):
    representation = dict(type="MixedDensityEventStack")
    keys = dict(representation=representation, type="RawEventDataset")
    plain, mirrored = (
        build(raw_sample, "train", *t, **keys)
        for t in ([], [dict(type="mmdet.RandomFlip", prob=1.0)])
    )
    a, b = clip(plain)["inputs"], clip(mirrored)["inputs"]
    assert a.dtype == b.dtype == torch.int8 and a.min() < 0
    assert torch.equal(a.flip(-1), b)


@pytest.mark.parametrize(
    ("transform", "problem"),
    [
        (
            dict(type="mmdet.Resize", scale=(24, 16)),
            "Resize cannot work.*changes the numbers.*interpolation='nearest'",
        ),
        (dict(type="mmdet.PhotoMetricDistortion"), "PhotoMetricDistortion cannot work"),
        (
            dict(type="mmdet.FilterAnnotations", min_gt_bbox_wh=(4, 4)),
            "FilterAnnotations cannot work.*track ids",
        ),
        (
            dict(
                type="RandomResize",
                resize_type="mmdet.Resize",
                scale=(48, 32),
                ratio_range=(0.5, 2.0),
                interpolation="nearest",
            ),
            "it makes frames of several sizes",
        ),
        (
            dict(type="Normalize", mean=[0] * 20, std=[2] * 20, to_rgb=False),
            "Normalize cannot work",
        ),
        (dict(type="mmdet.MinIoURandomCrop"), "MinIoURandomCrop"),
        (dict(type="mmdet.Mosaic"), "Mosaic cannot work"),
        (dict(type="mmdet.MixUp"), "MixUp cannot work"),
        (dict(type="mmdet.CopyPaste"), "CopyPaste cannot work.*ClipCopyPaste"),
        (dict(type="mmdet.Rotate", prob=1.0, level=5), "Rotate cannot work"),
        (dict(type="mmdet.YOLOXHSVRandomAug"), "YOLOXHSVRandomAug cannot work"),
        (dict(type="mmdet.LoadAnnotations", with_bbox=True), "LoadAnnotations cannot work"),
        (dict(type="mmdet.PackDetInputs"), "PackDetInputs cannot work.*PackClip"),
        (dict(type="LoadImageFromFile"), "LoadImageFromFile cannot work"),
        (dict(type="mmdet.RandomAffine"), "RandomAffine cannot work.*ClipAffine"),
        (dict(BROADCAST, mapping=dict(img="images")), "TransformBroadcaster with mapping"),
    ],
)
def test_transforms_that_cannot_work_are_refused_at_the_start(sample, transform, problem):
    with pytest.raises(InputError, match=problem):
        build(sample, "train", transform)


def test_what_differs_between_frames_is_refused(sample):
    class ByTurns:
        """Mirrors every second image, whatever the random numbers."""

        turn = 0
        __module__ = "mmdet.made_up"

        def __call__(self, results):
            self.turn += 1
            return dict(results, img=results["img"][:, :: (-1) ** self.turn])

    with pytest.raises(
        InputError, match=r"ByTurns cannot work.*other random numbers for each frame"
    ):
        build(sample, "train", ByTurns())


@pytest.mark.parametrize("test_mode", [False, True])
def test_pack_track_inputs_gives_what_pack_clip_gives(sample, test_mode):
    ours = build(sample, test_mode=test_mode)
    mmdets = build(
        sample, test_mode=test_mode, pipeline=[BROADCAST, dict(type="mmdet.PackTrackInputs")]
    )
    for seed in range(20):
        theirs = clip(mmdets, seed)
        if not theirs["data_samples"][0].flip:
            break
    expected = clip(ours)
    assert (
        torch.equal(theirs["inputs"], expected["inputs"]) and theirs["inputs"].dtype == torch.uint8
    )
    assert theirs["data_samples"].lane == 0 and theirs["data_samples"].streamed
    for a, b in zip(theirs["data_samples"], expected["data_samples"], strict=True):
        assert torch.equal(a.gt_instances.bboxes, b.gt_instances.bboxes)
        assert torch.equal(a.gt_instances.labels, b.gt_instances.labels)
        assert {k: a.get(k) for k in b.metainfo_keys()} == dict(b.metainfo_items())


def test_frame_transforms_is_registered():
    assert TRANSFORMS.build(dict(type="FrameTransforms", transforms=[])).names == ""
