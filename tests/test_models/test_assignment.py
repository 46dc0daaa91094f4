"""Label assignment of a whole batch at once."""

from __future__ import annotations

import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData

from etram_mmdet.models import RVTSimOTAAssigner
from etram_mmdet.models.task_modules import assignment as matching
from etram_mmdet.models.task_modules.assignment import Predicted, match, portions_of
from etram_mmdet.models.task_modules.rvt_simota_assigner import PriorGrid, pairwise_iou
from tests.helpers.waits import Waits

LEVELS = {"patch 4": ((12, 20, 8), (6, 10, 16), (3, 5, 32)), "patch 3": ((32, 54, 3), (16, 27, 6))}
HW = (96, 160)
CLASSES = 4


class OneAfterAnother(RVTSimOTAAssigner):
    """As the head takes an assigner of mmdet's, or one that changes what `assign` does."""

    def assign(self, *args, **kwargs):
        return super().assign(*args, **kwargs)


def random_predictions(levels, frames, generator):
    priors = []
    for rows, columns, stride in levels:
        y, x = torch.meshgrid(
            torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij"
        )
        priors.append(
            torch.stack([x, y, torch.full_like(x, stride), torch.full_like(x, stride)], -1).view(
                -1, 4
            )
        )
    priors = torch.cat(priors).float()
    shape = (frames, len(priors))
    centers = priors[:, :2] + torch.randn(*shape, 2, generator=generator) * priors[:, 2:]
    sizes = (0.7 * torch.randn(*shape, 2, generator=generator)).exp() * 3 * priors[:, 2:]
    bboxes = torch.cat([centers - sizes / 2, centers + sizes / 2], -1)
    logits = torch.randn(*shape, CLASSES + 1, generator=generator)
    return Predicted(
        logits[..., 1:], torch.zeros(*shape, 4), bboxes, logits[..., 0], priors, levels
    )


def random_boxes(count, generator, low=0.05, high=0.95):
    share = low + (high - low) * torch.rand(count, 2, generator=generator)
    centers = share * torch.tensor([HW[1], HW[0]])
    sizes = (3 + 0.8 * torch.randn(count, 2, generator=generator)).exp()
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return InstanceData(
        bboxes=torch.cat([centers - sizes / 2, centers + sizes / 2], 1), labels=labels
    )


@pytest.mark.parametrize("limit", [1, 300, 10**6])
@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_batch_is_matched_as_frame_by_frame(levels, limit, monkeypatch):
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", limit)
    generator = torch.Generator().manual_seed(0)
    predicted = random_predictions(levels, 6, generator)
    truth = [random_boxes(count, generator) for count in (3, 0, 1, 17, 0, 8)]
    together = match(predicted, torch.sigmoid, truth, RVTSimOTAAssigner())
    single = match(predicted, torch.sigmoid, truth, OneAfterAnother())
    assert len(together.index) > 29, "some boxes have several priors"
    assert (together.index.diff() > 0).all()
    for ours, expected in zip(together, single, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("assigner", [RVTSimOTAAssigner, OneAfterAnother])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_boxes_that_are_no_targets_count_as_if_they_were_not_there(assigner, share):
    generator = torch.Generator().manual_seed(0)
    predicted = random_predictions(LEVELS["patch 4"], 4, generator)
    truth = [random_boxes(count, generator) for count in (5, 0, 1, 17)]
    for boxes in truth:
        boxes.is_target = torch.rand(len(boxes), generator=generator) < share
    found = match(predicted, torch.sigmoid, truth, assigner())
    fewer = match(predicted, torch.sigmoid, [boxes[boxes.is_target] for boxes in truth], assigner())
    assert (len(found.index) > 10) == (share > 0)
    for ours, expected in zip(found[:-1], fewer[:-1], strict=True):
        assert torch.equal(ours, expected)
    boxes = torch.cat([boxes.bboxes for boxes in truth])
    assert torch.equal(boxes[found.box_index], found.bboxes), "counted among all boxes"


def test_every_box_within_the_frame_gets_a_prior():
    generator = torch.Generator().manual_seed(1)
    predicted = random_predictions(LEVELS["patch 4"], 2, generator)
    found = match(
        predicted,
        torch.sigmoid,
        [random_boxes(2, generator), random_boxes(3, generator)],
        RVTSimOTAAssigner(),
    )
    assert found.box_index.unique().tolist() == [0, 1, 2, 3, 4]


def test_boxes_far_outside_get_nothing():
    generator = torch.Generator().manual_seed(2)
    predicted = random_predictions(LEVELS["patch 4"], 2, generator)
    truth = [random_boxes(3, generator, 2, 3), random_boxes(0, generator)]
    found = match(predicted, torch.sigmoid, truth, RVTSimOTAAssigner())
    assert found.index.numel() == 0 and found.bboxes.shape == (0, 4)


def test_repeated_cells_count_once():
    """Two boxes with the same centre want the same nine cells of a level."""
    generator = torch.Generator().manual_seed(3)
    predicted = random_predictions(((12, 20, 8),), 1, generator)
    grid = PriorGrid(predicted.priors, predicted.levels)
    boxes = torch.tensor([[[40.0, 40, 56, 56], [44, 44, 52, 52]]])
    index, counts = RVTSimOTAAssigner().candidates(grid, boxes, torch.tensor([[True, True]]))
    assert counts.all() and index.unique().numel() == index.numel() == 9


def test_filled_up_places_have_no_candidates():
    """The second box of the second frame is none; its zeros lie in the corner cell."""
    levels = LEVELS["patch 4"]
    grid = PriorGrid(random_predictions(levels, 1, torch.Generator()).priors, levels)
    boxes = torch.tensor([[[72.0, 40, 88, 56], [0, 0, 1, 1]], [[72.0, 40, 88, 56], [0, 0, 0, 0]]])
    index, counts = RVTSimOTAAssigner().candidates(
        grid, boxes, torch.tensor([[True, True], [True, False]])
    )
    first, second = (set(row[mask].tolist()) for row, mask in zip(index, counts, strict=True))
    assert 0 in first and 0 not in second and second < first


def test_cells_around_a_corner_stay_on_the_grid():
    grid = PriorGrid(torch.zeros(15 + 4, 4), ((3, 5, 8), (2, 2, 16)))
    corners = torch.tensor([[4.0, 4.0], [39.0, 23.0]])
    first, last = (row[row < 19].tolist() for row in grid.cells_around(corners, 1))
    assert first == [0, 1, 5, 6, 15, 16, 17, 18]
    assert last == [8, 9, 13, 14, 16, 18], "the coarser grid ends before this corner"


def test_portions_hold_frames_with_boxes_up_to_the_limit():
    assert portions_of([2, 0, 2, 2, 5, 1], 8) == [[0, 2], [3], [4], [5]]
    assert portions_of([2, 0, 2, 2, 5, 1], 1000) == [[0, 2, 3, 4, 5]]
    assert portions_of([0, 0], 8) == []


def test_overlaps_are_mmdets_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.stack([random_boxes(9, generator).bboxes for _ in range(3)])
    boxes[0, 0] = boxes[0, 1, [0, 1, 0, 1]]  # without area
    others = torch.cat([boxes[:, 2:5] + 3, boxes[:, :2]], 1)
    assert torch.equal(pairwise_iou(boxes, others), bbox_overlaps(boxes, others))


def test_a_batch_waits_for_the_device_twice():
    """This holds for any number of frames; every value that is read would make a GPU wait."""
    generator = torch.Generator().manual_seed(0)
    predicted = random_predictions(LEVELS["patch 4"], 6, generator)
    truth = [random_boxes(5, generator) for _ in range(6)]
    with Waits() as waits:
        found = match(predicted, torch.sigmoid, truth, RVTSimOTAAssigner())
        found.of(predicted.scores), found.soft_labels(CLASSES), found.areas_px2()
    assert waits.seen == ["_local_scalar_dense", "nonzero"]
    with Waits() as one_by_one:
        match(predicted, torch.sigmoid, truth, OneAfterAnother())
    assert len(one_by_one.seen) >= 6 * 3
