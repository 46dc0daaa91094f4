"""The second head for small road users."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData

from etram_mmdet.models import fit_to_data
from etram_mmdet.utils.errors import InputError
from tests.helpers.plugins import SMALL, data_with, with_head
from tests.test_models.test_detector import batch, build, losses, predictions
from tests.test_models.test_plugins import one_class

ETRAM8 = ("pedestrian", "car", "bicycle", "bus", "motorbike", "truck", "tram", "wheelchair")


def aux(**keys):
    model = build(**with_head(type="AuxSmallYOLOXHead", small_classes=SMALL, **keys))
    fit_to_data(model, data_with(0, 1, 2))
    return model.train()


def test_default_classes_are_the_small_road_users_not_the_origins_numbers():
    """[2, 3, 4] were bicycle, bus and motorbike, no pedestrians."""
    model = build(bbox_head=dict(type="AuxSmallYOLOXHead", num_classes=8))
    fit_to_data(model, data_with(0, 1, classes=ETRAM8))
    assert model.bbox_head.class_of_small.tolist() == [0, 2, 4, 7]
    assert model.bbox_head.aux_head.num_classes == 4


def test_targets_are_small_boxes_with_their_own_numbers():
    head = aux().bbox_head
    truth = InstanceData(bboxes=torch.arange(20.0).view(5, 4), labels=torch.tensor([0, 1, 2, 2, 1]))
    nothing, small = head._small_only([truth[:0], truth])
    targets = small[small.is_target]
    assert targets.labels.tolist() == [0, 1, 1] and targets.bboxes[:, 0].tolist() == [0, 8, 12]
    assert len(nothing) == 0 and nothing.bboxes.shape == (0, 4)
    assert truth.labels.tolist() == [0, 1, 2, 2, 1]


def test_losses_are_those_of_a_head_of_its_own_times_the_weight():
    model = aux(aux_weight=2.0)
    data = model.data_preprocessor(batch(), True)
    features = model._neck(model.clip_features(data["inputs"], data["is_labelled"], None)[0])
    chosen = [data["data_samples"][b][t] for t, b in data["is_labelled"].nonzero().tolist()]
    head = model.bbox_head.aux_head
    maps = head([stem(f) for stem, f in zip(model.bbox_head.aux_stems, features[:2], strict=True)])
    own = head.loss_by_feat(
        *maps,
        model.bbox_head._small_only([s.gt_instances for s in chosen]),
        [{}] * len(chosen),
    )
    result = losses(model, batch())
    assert own["num_pos"] > 1
    for name in ("loss_cls", "loss_bbox", "loss_obj"):
        assert result[f"aux_{name}"].item() == pytest.approx(2 * own[name].item(), rel=1e-3)


def test_large_classes_do_not_concern_it():
    result = losses(aux(), one_class(1))
    assert result["aux_loss_cls"] == 0 and result["aux_loss_bbox"] == 0 and result["loss_bbox"] > 0


def test_it_looks_at_the_finest_levels_only():
    head = aux(aux_levels=2).bbox_head
    assert head.aux_head.strides == [2, 4] and len(head.aux_stems) == 2
    assert len(aux(aux_levels=1).bbox_head.aux_head.multi_level_conv_cls) == 1


def test_gradients_of_the_second_head_reach_the_backbone():
    model = aux()
    result = losses(model, batch())
    sum(loss for name, loss in result.items() if name.startswith("aux_")).backward()
    assert model.backbone.stages[0].downsample.conv.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.bbox_head.multi_level_conv_cls.parameters())


def test_dropped_at_test_unless_merged():
    """The second head is made sure of its second class, bicycle (number 2).

    The main head finds nothing.
    """
    found = {}
    for merge in (False, True):
        model = aux(merge_at_test=merge)
        model.bbox_head.test_cfg.score_thr = 0.3
        for head, bias in ((model.bbox_head, -20.0), (model.bbox_head.aux_head, 5.0)):
            for level in head.multi_level_conv_obj:
                level.weight.data.zero_()
                level.bias.data.fill_(bias)
        for level in model.bbox_head.aux_head.multi_level_conv_cls:
            level.weight.data.zero_()
            level.bias.data.copy_(torch.tensor([-4.0, 4.0]))
        found[merge] = predictions(model, batch())[0].pred_instances
    assert len(found[False]) == 0
    assert len(found[True]) and set(found[True].labels.tolist()) == {2}


def test_boxes_of_both_heads_go_through_nms_together():
    """Every box twice, once from each head: half as many are left as went in."""
    model = aux(merge_at_test=True)
    head, kept = model.bbox_head, []
    same = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 8, 8], [20, 0, 28, 8]]), scores=torch.tensor([0.9, 0.8])
    )
    head.predict_by_feat = lambda *args, **kwargs: [
        InstanceData(**same, labels=torch.tensor([0, 2]))
    ]
    head.aux_head.predict_by_feat = lambda *args, **kwargs: [
        InstanceData(**same, labels=torch.tensor([0, 1]))
    ]
    kept = head.predict(
        [torch.zeros(1, 8, 8 // s, 8 // s) for s in (1, 2, 4)], [InstanceData(metainfo={})]
    )[0]
    assert kept.labels.tolist() == [0, 2] and kept.scores.tolist() == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize(
    ("keys", "says"),
    [(dict(aux_levels=4), "aux_levels=4, expected 1 to 3"), (dict(aux_levels=0), "aux_levels=0")],
)
def test_bad_levels_get_a_sentence(keys, says):
    with pytest.raises(InputError, match=says):
        aux(**keys)


def test_unknown_class_names_get_a_sentence():
    model = build(**with_head(type="AuxSmallYOLOXHead", small_classes=("pedestrian", "scooter")))
    with pytest.raises(
        InputError, match=r"names scooter, but the data have pedestrian, car, bicycle"
    ):
        fit_to_data(model, data_with(0, 1))


def test_without_data_it_says_so():
    with pytest.raises(
        InputError, match=r"the numbers of its small classes are not known.*fit_to_data"
    ):
        losses(build(**with_head(type="AuxSmallYOLOXHead", small_classes=SMALL)), batch())
