"""EventCocoMetric: COCO's numbers over frames, each frame once."""

from __future__ import annotations

import contextlib
import csv
import io

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric, frame_of
from etram_mmdet.evaluation.results_table import append_row, evaluations
from etram_mmdet.utils.errors import InputError

CLASSES = ("pedestrian", "car", "bus", "tram")


def sample(
    t_us, gt, gt_labels, predicted=None, scores=None, labels=None, recording="day_000", **flags
):
    """One labelled frame; without ``predicted`` the detector repeats the ground truth."""
    gt = torch.as_tensor(gt, dtype=torch.float32).reshape(-1, 4)
    gt_labels = torch.as_tensor(gt_labels, dtype=torch.int64)
    predicted = (
        gt if predicted is None else torch.as_tensor(predicted, dtype=torch.float32).reshape(-1, 4)
    )
    labels = gt_labels if labels is None else torch.as_tensor(labels, dtype=torch.int64)
    scores = (
        torch.full((len(labels),), 0.9)
        if scores is None
        else torch.as_tensor(scores, dtype=torch.float32)
    )
    return dict(
        recording=recording,
        t_us=t_us,
        gt_instances=dict(bboxes=gt, labels=gt_labels),
        pred_instances=dict(bboxes=predicted, scores=scores, labels=labels),
        **flags,
    )


def random_samples(num_frames, seed, num_classes=3):
    """Frames with moved, confused and invented detections of all sizes, many with equal scores.

    Class 3 never occurs.
    """
    rng = np.random.default_rng(seed)

    def boxes(n):
        corner = rng.uniform(0, 300, (n, 2))
        return np.hstack([corner, corner + np.exp(rng.uniform(1, 5.3, (n, 2)))])

    samples = []
    for i in range(num_frames):
        gt, gt_labels = boxes(n := int(rng.integers(0, 9))), rng.integers(0, num_classes, n)
        extra = int(rng.integers(0, 130)) if i % 5 == 0 else int(rng.integers(0, 6))
        predicted = np.vstack([gt + rng.normal(0, 2, gt.shape), boxes(extra)])
        labels = np.concatenate(
            [np.where(rng.random(n) < 0.2, 0, gt_labels), rng.integers(0, num_classes, extra)]
        )
        scores = ((rng.random(n + extra) + np.repeat([0.5, 0], [n, extra])) / 1.5).round(2)
        samples.append(
            sample(i * 50_000, gt, gt_labels, predicted, scores, labels, recording=f"day_{i % 3}")
        )
    return samples


def evaluate(samples, size=1, classes=CLASSES):
    metric = EventCocoMetric()
    metric.dataset_meta = dict(classes=classes)
    metric.process(None, samples)
    return metric.evaluate(size)


def plain_pycocotools(samples):
    """The 12 numbers of pycocotools' own summary, and its precision array."""
    ground_truth, detections = [], []
    kinds = dict(
        gt_instances=ground_truth, ignored_instances=ground_truth, pred_instances=detections
    )
    for image_id, s in enumerate(
        sorted(samples, key=lambda s: (s["recording"], s["t_us"])), start=1
    ):
        for kind, out in ((kind, out) for kind, out in kinds.items() if kind in s):
            for j, (x1, y1, x2, y2) in enumerate(s[kind]["bboxes"].double().tolist()):
                annotation = dict(
                    id=len(out) + 1, image_id=image_id, category_id=int(s[kind]["labels"][j]) + 1
                )
                crowd = int(kind == "ignored_instances")
                annotation.update(
                    bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=crowd
                )
                out.append(
                    annotation
                    if out is ground_truth
                    else annotation | dict(score=float(s[kind]["scores"][j]))
                )
    coco = COCO()
    coco.dataset = dict(
        info={},
        images=[dict(id=i + 1) for i in range(len(samples))],
        categories=[dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)],
        annotations=ground_truth,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats, evaluation.eval["precision"]


SIZES = [f"{size}_network_px" for size in "SML"]
SUMMARY = [*"AP AP50 AP75".split(), *(f"AP_{size}" for size in SIZES)]
SUMMARY += [*"AR1 AR10 AR100".split(), *(f"AR100_{size}" for size in SIZES)]


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(seed):
    samples = random_samples(60, seed)
    metrics = evaluate(samples)
    stats, precision = plain_pycocotools(samples)
    assert 0.05 < metrics["coco/AP"] < 0.95
    assert [metrics[f"coco/{key}"] for key in SUMMARY] == pytest.approx(stats.tolist(), abs=1e-9)
    for k in range(3):
        assert metrics[f"coco/AP_{CLASSES[k]}"] == pytest.approx(
            precision[:, :, k, 0, 2].mean(), abs=1e-9
        )
        assert metrics[f"coco/AP50_{CLASSES[k]}"] == pytest.approx(
            precision[0, :, k, 0, 2].mean(), abs=1e-9
        )


def partly_ignored(samples):
    """Mark every third ground-truth box of the samples as ignored."""
    for s in samples:
        truth = s["gt_instances"]
        is_ignored = torch.arange(len(truth["labels"])) % 3 == 0
        s["ignored_instances"] = {name: column[is_ignored] for name, column in truth.items()}
        s["gt_instances"] = {name: column[~is_ignored] for name, column in truth.items()}
    return samples


@pytest.mark.parametrize("seed", range(2))
def test_ignored_boxes_are_pycocotools_crowds(seed):
    samples = partly_ignored(random_samples(60, seed))
    metrics = evaluate(samples)
    stats, _ = plain_pycocotools(samples)
    assert 0.05 < metrics["coco/AP"] < 0.95
    assert [metrics[f"coco/{key}"] for key in SUMMARY] == pytest.approx(stats.tolist(), abs=1e-9)
    for s in samples:
        del s["ignored_instances"]
    assert abs(evaluate(samples)["coco/AP"] - metrics["coco/AP"]) > 0.01


def test_an_exact_detector_is_right_about_boxes_that_are_ignored():
    """Two detections of an ignored box cost nothing; one beside it is a false alarm."""
    small = torch.tensor([[3.0, 3.0, 6.0, 7.0]])
    found = [*BOXES, *small.tolist(), *small.tolist()]
    s = sample(0, BOXES, LABELS, found, [0.5, 0.5, 0.5, 0.9, 0.8], [*LABELS, 0, 0])
    s["ignored_instances"] = dict(bboxes=small, labels=torch.tensor([0]))
    after = sample(100_000, BOXES, LABELS)
    assert evaluate([s, after])["coco/AP"] == pytest.approx(1)
    assert evaluate([s, after])["coco/fp_per_min"] == 0
    s["pred_instances"]["bboxes"][3] += 20
    assert evaluate([s, after])["coco/AP_pedestrian"] < 0.9


BOXES = [[10, 10, 50, 60], [100, 20, 250, 170], [5, 80, 15, 95]]
LABELS = [0, 1, 0]


def test_perfect_is_one():
    metrics = evaluate([sample(0, BOXES, LABELS), sample(50_000, BOXES[:2], LABELS[:2])])
    counts = {key: metrics.pop(f"coco/{key}") for key in ("frames", "boxes")}
    assert counts == dict(frames=2, boxes=5) and metrics.pop("coco/fp_per_min") == 0
    # One detection per frame and class finds two of the three pedestrians, and both cars.
    assert metrics.pop("coco/AR1") == pytest.approx((2 / 3 + 1) / 2)
    classes = {f"{kind}_{name}" for kind in ("AP", "AP50") for name in ("pedestrian", "car")}
    parts = {*(f"AP_{side}_sensor_px" for side in ("8-16", "32-96", "96+")), "AP_day"}
    assert set(metrics) == {
        f"coco/{key}" for key in {*SUMMARY, *classes, *parts, "AP_small_classes"} - {"AR1"}
    }
    assert set(metrics.values()) == {1.0}


def test_an_ap_that_hangs_on_the_order_of_rows_is_named(monkeypatch):
    """All scores are equal, so AP is 1 or 0.5, depending on the order of the rows."""
    said = []
    monkeypatch.setattr(
        "etram_mmdet.evaluation.event_coco_metric.print_log", lambda text, **_: said.append(text)
    )
    found = [BOXES[1], [200, 200, 220, 240]]
    good_first = sample(0, BOXES[1:2], [1], found, [0.5, 0.5], [1, 1])
    bad_first = sample(0, BOXES[1:2], [1], found[::-1], [0.5, 0.5], [1, 1])
    assert [evaluate([s])["coco/AP"] for s in (good_first, bad_first)] == pytest.approx([1, 0.5])
    line = "equal scores: 2 of 2 detections share their score with another one of their class"
    assert line in said[0] and said[0].endswith("in reverse order AP would be 0.5000")
    assert line in said[1] and said[1].endswith("in reverse order AP would be 1.0000")
    good_first["pred_instances"]["labels"][1] = 0  # another class: no tie
    evaluate([good_first])
    evaluate([sample(0, BOXES, LABELS)])  # ties among correct detections only
    assert "equal scores" not in said[2] + said[3]


def test_no_detections_is_zero():
    metrics = evaluate([sample(t, BOXES, LABELS, [], [], []) for t in (0, 50_000)])
    assert {metrics[f"coco/{key}"] for key in SUMMARY} == {0.0}
    assert metrics["coco/AP_car"] == 0.0


def test_class_counts():
    swapped = evaluate([sample(0, BOXES, LABELS, BOXES, [0.9, 0.9, 0.9], [1, 0, 0])])
    assert swapped["coco/AP_car"] == 0.0
    assert 0.0 < swapped["coco/AP_pedestrian"] < 1.0


def test_small_boxes_count():
    """Prophesee's protocol drops boxes under 10 px sides and 30 px diagonal; ``coco`` keeps 4x4."""
    metrics = evaluate([sample(0, [[10, 10, 14, 14], [30, 30, 34, 34]], [0, 1])])
    assert metrics["coco/AP_S_network_px"] == metrics["coco/AP"] == 1.0
    assert metrics["coco/boxes"] == 2


def test_only_the_best_100_detections_count():
    misses = np.tile([[200.0, 200, 220, 220]], (149, 1))
    predicted = np.vstack([misses, BOXES[:1]])

    def average_precision(rank):
        scores = np.linspace(0.9, 0.8, 149).tolist()
        hit_score = (scores[rank - 2] + scores[rank - 1]) / 2
        return evaluate([sample(0, BOXES[:1], [0], predicted, [*scores, hit_score], [0] * 150)])[
            "coco/AP"
        ]

    assert average_precision(100) == pytest.approx(0.01)
    assert average_precision(101) == 0.0


def test_order_and_batches_do_not_matter():
    samples = random_samples(40, seed=7)
    metric = EventCocoMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    for i in np.random.default_rng(0).permutation(len(samples)):
        metric.process(None, [samples[i]])
    assert metric.evaluate(size=len(samples)) == evaluate(samples)
    assert list(metric.frames) == sorted((s["recording"], s["t_us"]) for s in samples)


def test_every_frame_counts_whatever_the_size():
    assert evaluate([sample(t, BOXES, LABELS) for t in range(50)], size=1)["coco/frames"] == 50


def test_repeated_frame_counts_once():
    samples = random_samples(10, seed=3)
    assert evaluate(samples + samples[:4]) == evaluate(samples)


def test_metrics_of_a_list_of_frames_in_any_order():
    samples = random_samples(10, seed=3)
    frames = [frame_of(each, len(CLASSES)) for each in samples]
    metric = EventCocoMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    assert metric.compute_metrics([*frames[::-1], *frames[:4]]) == evaluate(samples)
    assert list(metric.frames) == sorted(frame.key for frame in frames)
    with pytest.raises(InputError, match="no labelled frame reached the metric"):
        metric.compute_metrics([])


def test_frame_with_two_answers_is_an_error():
    with pytest.raises(ValueError, match=r"recording 'day_000' at t_us=7 reached the metric twice"):
        evaluate([sample(7, BOXES, LABELS), sample(7, BOXES, LABELS, BOXES[:1], [0.9], [0])])


def test_padding_and_unlabelled_frames_are_skipped():
    wrong = dict(predicted=[], scores=[], labels=[])
    samples = [sample(0, BOXES, LABELS), sample(1, BOXES, LABELS, **wrong, is_padding=True)]
    metrics = evaluate([*samples, sample(2, BOXES, LABELS, **wrong, is_labelled=False)])
    assert (metrics["coco/frames"], metrics["coco/AP"]) == (1, 1.0)


def test_class_without_boxes_is_absent(monkeypatch):
    lines = []
    monkeypatch.setattr(
        "etram_mmdet.evaluation.event_coco_metric.print_log", lambda text, **_: lines.append(text)
    )
    metrics = evaluate([sample(0, BOXES[:1], [0], BOXES, [0.9, 0.8, 0.8], [0, 3, 3])])
    assert (
        metrics["coco/AP"] == 1.0
    )  # two false trams: without a true one, COCO has no class to charge them to
    assert not any(
        "tram" in key or key.endswith(("_S_network_px", "_L_network_px")) for key in metrics
    )
    assert -1 not in metrics.values()
    table = lines[0].split("\n\n")[0].split("\n")
    rules = (
        "class-aware, no box filter, boxes < 5 sensor px ignored, detections clipped to the frame"
    )
    assert table[1] == f"protocol coco: {rules}, IoU .50:.95, maxDets 1/10/100"
    assert table[2:4] == ["left out: 0 frames, 0 boxes, 0 detections", "1 frames, 1 boxes"]
    assert [line.split() for line in table if line.startswith(("pedestrian", "tram"))] == [
        ["pedestrian", "1", "1.0000", "1.0000"],
        ["tram", "0", "no", "boxes"],
    ]


@pytest.mark.parametrize("place", ["bboxes", "scores"])
def test_nan_names_the_frame(place):
    bad = sample(123_456, BOXES, LABELS, recording="night_007")
    bad["pred_instances"][place] = bad["pred_instances"][place].clone()
    bad["pred_instances"][place].view(-1)[1] = float("nan")
    with pytest.raises(
        ValueError,
        match=rf"'night_007' at t_us=123456: detections: {place}\S* holds 1 values that are NaN",
    ):
        evaluate([bad])


def test_label_without_class_is_an_error():
    with pytest.raises(ValueError, match=r"ground truth: labels holds \[4\], expected 0 to 3"):
        evaluate([sample(0, BOXES, [0, 4, 1], [], [], [])])


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="no labelled frame reached the metric"):
        evaluate([])
    with pytest.raises(ValueError, match="no ground-truth box is left under the headline protocol"):
        evaluate([sample(t, [], [], BOXES, [0.9] * 3, LABELS) for t in (0, 1)])


def test_without_class_names_is_an_error():
    with pytest.raises(ValueError, match="dataset_meta is None, expected a key 'classes'"):
        EventCocoMetric().process(None, [sample(0, BOXES, LABELS)])


def test_through_mmengine():
    """Built by name, fed with mmdet's own data samples, used twice."""
    evaluator = Evaluator([METRICS.build(dict(type="EventCocoMetric"))])
    evaluator.dataset_meta = dict(classes=CLASSES)
    boxes = torch.tensor(BOXES, dtype=torch.float32)
    data_sample = DetDataSample(
        metainfo=dict(recording="day_000", is_padding=False, is_labelled=True)
    )
    data_sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor(LABELS))
    data_sample.pred_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor(LABELS), scores=torch.ones(3).bfloat16()
    )
    for t_us in (50_000, 0):
        data_sample.set_metainfo(dict(t_us=t_us))
        evaluator.process([data_sample])
        metrics = evaluator.evaluate(size=1)
        assert (metrics["coco/AP"], metrics["coco/frames"]) == (1.0, 1)
    frame = evaluator.metrics[0].frames["day_000", 0]
    boxes.zero_()
    assert frame.found.bboxes_xyxy.tolist() == BOXES  # a copy


def evaluate_shards(rank, init_file, out_dir):
    """Evaluate half of the frames on each rank, then no frame at all.

    Two frames are on both ranks, as with a padded sampler.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{init_file}", rank=rank, world_size=2
    )
    samples = random_samples(41, seed=11)
    metrics = evaluate(samples[rank::2] + samples[:2])
    with pytest.raises(ValueError, match="no labelled frame reached the metric"):
        evaluate([])
    torch.save(metrics, out_dir / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    """Both give the same numbers to the last digit.

    An error is raised on both, so that neither waits for the other for ever.
    """
    torch.multiprocessing.spawn(evaluate_shards, (tmp_path / "init", tmp_path), nprocs=2)
    expected = evaluate(random_samples(41, seed=11))
    assert expected["coco/frames"] == 41
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [expected, expected]


def test_append_row_keeps_every_digit_and_column(tmp_path):
    path = tmp_path / "work" / "results.csv"
    append_row(path, dict(config="baseline", AP=0.1 + 0.2))
    append_row(path, dict(config="size, aware", AP=np.float64(1 / 3), AP_tram=0.5))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["config", "AP", "AP_tram"]
    assert [float(row["AP"]) for row in rows] == [0.1 + 0.2, 1 / 3]
    assert [row["AP_tram"] for row in rows] == ["", "0.5"]
    assert rows[1]["config"] == "size, aware"
    assert [file.name for file in path.parent.iterdir()] == ["results.csv"]


def test_sizes_without_their_pixels_are_read_under_todays_names(tmp_path):
    """A file with columns of version 0.1 beside today's columns."""
    old = {
        "coco/AP_S": "0.25",
        "coco/AR100_L": "0.5",
        "prophesee:class/AP_8-16px": "0.125",
        "coco/AP_96+px": "1",
    }
    now = {"coco/AP_S_network_px": 0.3, "coco/AP_8-16_sensor_px": 0.2, "coco/AP_pedestrian": 0.1}
    append_row(tmp_path / "r.csv", dict(split="val", step=1) | old)
    append_row(tmp_path / "r.csv", dict(split="val", step=2) | now)
    rows = evaluations(tmp_path / "r.csv", "val", dict(test_cfg={}))
    assert rows[0] == {
        "split": "val",
        "step": "1",
        "coco/AP_S_network_px": "0.25",
        "coco/AR100_L_network_px": "0.5",
        "prophesee:class/AP_8-16_sensor_px": "0.125",
        "coco/AP_96+_sensor_px": "1",
    }
    assert rows[1] == {
        "split": "val",
        "step": "2",
        **{key: str(value) for key, value in now.items()},
    }


def test_a_row_may_take_the_place_of_an_earlier_one(tmp_path):
    path = tmp_path / "r.csv"
    for step, ap in ((1, 0.1), (2, 0.2), (1, 0.3)):
        append_row(path, dict(split="val", step=step, AP=ap), instead_of=("split", "step"))
    assert path.read_text().splitlines() == ["split,step,AP", "val,2,0.2", "val,1,0.3"]
    append_row(path, dict(split="val", step=1, AP=0.3))
    assert len(path.read_text().splitlines()) == 4


def test_append_row_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    append_row(path, dict(AP=0.5))
    before = path.read_bytes()

    def interrupted(*_args):
        raise OSError("no space left on device")

    monkeypatch.setattr("csv.DictWriter.writerows", interrupted)
    with pytest.raises(OSError, match="no space"):
        append_row(path, dict(AP=0.6))
    assert path.read_bytes() == before
