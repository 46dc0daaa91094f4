"""mmdet's metrics on predictions of this project."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation.metrics import BaseVideoMetric
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

from etram_mmdet.datasets import StreamEvalBatchSampler
from etram_mmdet.evaluation.stream_evaluator import StreamEvaluator
from etram_mmdet.models.data_preprocessors.event_data_preprocessor import EventDataPreprocessor
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT

CONFIG_PATH = ROOT / CONFIG
LIMITS = dict(proposal_nums=(1, 10, 100))


@pytest.fixture(scope="module")
def dataset(sample):
    pipeline = [dict(type="PackClip")]
    return DATASETS.build(
        dict(
            type="mmdet.ETraMDataset",
            data_root=str(sample),
            split="val",
            pipeline=pipeline,
            test_mode=True,
        )
    )


@pytest.fixture(scope="module")
def batches(dataset):
    """Predicted frames in the detector's output format: noisy truth and false alarms."""
    loader = DataLoader(
        dataset,
        batch_sampler=StreamEvalBatchSampler(DefaultSampler(dataset, shuffle=False), batch_size=2),
        collate_fn=pseudo_collate,
    )
    rng, prepare = np.random.default_rng(0), EventDataPreprocessor()
    return [
        predicted([f for track in prepare(batch)["data_samples"] for f in track], rng)
        for batch in loader
    ]


def predicted(frames, rng) -> list[DetDataSample]:
    """Also of boxes that are ignored, which must not count as false alarms."""
    for frame in frames:
        truth = np.concatenate([frame.gt_instances.bboxes, frame.ignored_instances.bboxes]).astype(
            np.float32
        )
        moved = truth + rng.normal(0, 1.0, truth.shape)
        moved[:, 3] += 30 * (truth[:, 3] > 28)  # beyond the border, where the truth is cut
        corner = rng.uniform(0, 20, (3, 2))
        bboxes = np.concatenate([moved, np.concatenate([corner, corner + 9], 1)]).astype(np.float32)
        labels = [frame.gt_instances.labels, frame.ignored_instances.labels, rng.integers(0, 8, 3)]
        labels = np.concatenate(labels)
        frame.pred_instances = InstanceData(
            bboxes=torch.from_numpy(bboxes),
            scores=torch.from_numpy(rng.permutation(len(bboxes)).astype(np.float32) / 16 + 0.01),
            labels=torch.from_numpy(labels),
        )
    labelled = [frame for frame in frames if frame.is_labelled]
    return labelled or frames[:1]


def evaluate(dataset, batches, *metrics) -> dict[str, float]:
    evaluator = StreamEvaluator([dict(type=f"mmdet.{m.pop('type')}", **m) for m in metrics])
    evaluator.dataset_meta = dataset.metainfo
    for samples in batches:
        evaluator.process(samples)
    return evaluator.evaluate(len(dataset))


def ours(dataset, batches) -> dict[str, float]:
    return evaluate(dataset, batches, dict(type="EventCocoMetric"))


def test_coco_metric_says_what_ours_says(dataset, batches):
    """mmdet rounds to three digits when it copies pycocotools' numbers.

    The next test compares the numbers before rounding.
    """
    found = evaluate(dataset, batches, dict(type="CocoMetric", metric="bbox", **LIMITS))
    expected = ours(dataset, batches)
    assert 0.05 < expected["coco/AP"] < 0.95
    for theirs, name in (
        ("mAP", "AP"),
        ("mAP_50", "AP50"),
        ("mAP_75", "AP75"),
        ("mAP_s", "AP_S_network_px"),
    ):
        assert (
            abs(found[f"coco/bbox_{theirs}"] - expected[f"coco/{name}"]) <= 5.1e-4
        )  # mmdet rounds to 3 digits


def test_coco_metrics_stats_equal_ours_to_1e_6(dataset, batches, monkeypatch):
    """Before mmdet rounds them."""
    stats = _unrounded(monkeypatch)
    evaluate(dataset, batches, dict(type="CocoMetric", metric="bbox", **LIMITS))
    expected = ours(dataset, batches)
    names = ("AP", "AP50", "AP75", "AP_S_network_px")
    np.testing.assert_allclose(
        stats[0][:4], [expected[f"coco/{name}"] for name in names], atol=1e-6
    )
    recalls = [expected[f"coco/AR{limit}"] for limit in (1, 10, 100)]
    np.testing.assert_allclose(stats[0][6:9], recalls, atol=1e-6)


def _unrounded(monkeypatch) -> list[np.ndarray]:
    from mmdet.evaluation.metrics import coco_metric

    stats: list[np.ndarray] = []

    class Spy(coco_metric.COCOeval):
        def summarize(self, *args, **kwargs):
            super().summarize(*args, **kwargs)
            stats.append(np.array(self.stats))

    monkeypatch.setattr(coco_metric, "COCOeval", Spy)
    return stats


def test_coco_metric_with_an_annotation_file(dataset, batches, tmp_path):
    names = dataset.metainfo["classes"]
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    images = [
        dict(id=i["img_id"], width=i["width"], height=i["height"], file_name=i["img_path"])
        for i in infos
    ]
    boxes = [
        dict(
            image_id=info["img_id"],
            category_id=box["bbox_label"],
            bbox=_xywh(box["bbox"]),
            iscrowd=box["ignore_flag"],
        )
        for info in infos
        for box in info["instances"]
    ]
    annotations = [
        dict(box, id=k, area=box["bbox"][2] * box["bbox"][3]) for k, box in enumerate(boxes, 1)
    ]
    categories = [dict(id=k, name=name) for k, name in enumerate(names)]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    with_file = dict(type="CocoMetric", metric="bbox", ann_file=str(path), **LIMITS)
    without = dict(type="CocoMetric", metric="bbox", **LIMITS)
    assert evaluate(dataset, batches, with_file) == evaluate(dataset, batches, without)


def _xywh(bbox):
    x1, y1, x2, y2 = bbox
    return [x1, y1, x2 - x1, y2 - y1]


def test_format_only_writes_every_detection(dataset, batches, tmp_path):
    metric = dict(
        type="CocoMetric", metric="bbox", format_only=True, outfile_prefix=str(tmp_path / "found")
    )
    path = tmp_path / "empty.json"
    names = dataset.metainfo["classes"]
    categories = [dict(id=k, name=name) for k, name in enumerate(names)]
    path.write_text(json.dumps(dict(images=[], annotations=[], categories=categories)))
    assert evaluate(dataset, batches, dict(metric, ann_file=str(path))) == {}
    saved = json.loads((tmp_path / "found.bbox.json").read_text())
    frames = [f for samples in batches for f in samples if f.is_labelled]
    assert len(saved) == sum(len(f.pred_instances) for f in frames)
    assert {row["image_id"] for row in saved} == {f.img_id for f in frames}


def test_coco_video_metric_counts_every_labelled_frame(dataset, batches):
    video = evaluate(dataset, batches, dict(type="CocoVideoMetric", metric="bbox", **LIMITS))
    assert video == evaluate(dataset, batches, dict(type="CocoMetric", metric="bbox", **LIMITS))


def test_voc_metric_counts_every_labelled_frame(dataset, batches):
    found = evaluate(dataset, batches, dict(type="VOCMetric", iou_thrs=[0.5]))
    assert 0.05 < found["pascal_voc/mAP"] < 0.99
    fewer = evaluate(dataset, batches[: len(batches) // 2], dict(type="VOCMetric", iou_thrs=[0.5]))
    assert fewer != found


def test_metrics_work_side_by_side(dataset, batches):
    together = evaluate(
        dataset,
        batches,
        dict(type="EventCocoMetric"),
        dict(type="CocoMetric", metric="bbox", prefix="mmdet", **LIMITS),
        dict(type="VOCMetric", iou_thrs=[0.5]),
    )
    assert together["coco/AP"] == ours(dataset, batches)["coco/AP"]
    assert {"mmdet/bbox_mAP", "pascal_voc/mAP"} <= set(together)


def test_frames_that_do_not_count_reach_no_metric(dataset, batches):
    """A batch without labels still yields a frame; its boxes would be false alarms."""
    metric = dict(type="VOCMetric", iou_thrs=[0.5])
    expected = evaluate(dataset, batches, dict(metric))
    for fact in (dict(is_labelled=False), dict(is_padding=True)):
        others = [
            sample.new(metainfo=dict(sample.metainfo_items()) | fact) for sample in batches[-1]
        ]
        assert evaluate(dataset, [*batches, others], dict(metric)) == expected
    counting = [sample.new(metainfo=dict(sample.metainfo_items())) for sample in batches[-1]]
    assert evaluate(dataset, [*batches, counting], dict(metric)) != expected


def test_more_frames_than_items_are_not_cut(dataset, batches):
    """mmengine cuts results to the number of items that is passed to it."""
    evaluator = StreamEvaluator([dict(type="mmdet.VOCMetric", iou_thrs=[0.5])])
    evaluator.dataset_meta = dataset.metainfo
    for samples in batches:
        evaluator.process(samples)
    whole = evaluate(dataset, batches, dict(type="VOCMetric", iou_thrs=[0.5]))
    assert evaluator.evaluate(3) == whole


def test_metrics_of_tracks_are_refused():
    class Tracks(BaseVideoMetric):
        def compute_metrics(self, results):
            return {}

    with pytest.raises(InputError, match=r"Tracks measures tracks.*CocoVideoMetric"):
        StreamEvaluator([Tracks()])


def test_a_run_validates_with_metrics_of_both(sample, tmp_path):
    config = tmp_path / "both.py"
    config.write_text(
        f'_base_ = "{CONFIG_PATH}"\n'
        'val_evaluator = [dict(type="EventCocoMetric"), '
        'dict(type="CocoMetric", metric="bbox", prefix="mmdet"), '
        'dict(type="CocoVideoMetric", metric="bbox", prefix="video"), dict(type="VOCMetric")]\n'
    )
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, ALL_BOXES]
    output = run("tools/train.py", config, "--work-dir", tmp_path / "run", *options)
    assert all(
        key in output for key in ("coco/AP", "mmdet/bbox_mAP", "video/bbox_mAP", "pascal_voc/mAP")
    )
