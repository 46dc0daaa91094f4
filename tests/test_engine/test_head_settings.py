"""Keys of test_cfg and train_cfg that a head reads are found in the code that would run."""

from __future__ import annotations

import pytest
from mmdet.models.dense_heads import ATSSHead, FCOSHead, RTMDetHead, TOODHead, YOLOXHead
from mmdet.registry import MODELS
from mmengine.config import Config

from etram_mmdet.engine.config.head_settings import settings_read, settings_taken
from etram_mmdet.engine.config.keys import check_keys, check_options
from etram_mmdet.models.dense_heads.aux_small_yolox_head import AuxSmallYOLOXHead
from etram_mmdet.models.dense_heads.rvt_yolox_head import RVTYOLOXHead
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import CONFIG
from tests.helpers.paths import ROOT

OF_ANCHORS = {"assigner", "sampler", "allowed_border", "pos_weight"}
OF_BOXES = {"score_thr", "nms_pre", "nms", "min_bbox_size", "max_per_img"}


@pytest.mark.parametrize(
    ("head", "train", "test"),
    [
        (YOLOXHead, {"assigner"}, {"score_thr", "nms"}),
        (RVTYOLOXHead, {"assigner"}, {"score_thr", "nms", "nms_pre"}),
        (AuxSmallYOLOXHead, {"assigner"}, {"score_thr", "nms", "nms_pre"}),
        (FCOSHead, set(), OF_BOXES),
        (ATSSHead, OF_ANCHORS, OF_BOXES),
        (RTMDetHead, OF_ANCHORS, OF_BOXES),
        (TOODHead, OF_ANCHORS | {"alpha", "beta", "initial_assigner", "initial_epoch"}, OF_BOXES),
    ],
)
def test_heads_read_what_their_code_looks_up(head, train, test):
    assert settings_read(head) == dict(train_cfg=train, test_cfg=test)


class OwnHead(RVTYOLOXHead):
    """A user's head: every way to look a key up, and a method that nobody calls."""

    def predict_by_feat(self, *args, cfg=None, **kwargs):
        cfg = cfg or self.test_cfg
        found = (
            cfg.first,
            cfg["second"],
            cfg.get("third", 1),
            "fourth" in cfg,
            getattr(cfg, "fifth", 1),
        )
        return self._helper(cfg.copy(), found)

    def _helper(self, cfg, found):
        return super().predict_by_feat(
            cfg.sixth, self.norm_cfg.not_this, found.nor_this, self.train_cfg["seventh"]
        )

    def aug_test(self):
        return self.test_cfg.never


def test_every_way_to_look_a_key_up_counts():
    ways = {"first", "second", "third", "fourth", "fifth", "sixth"}
    assert settings_read(OwnHead)["test_cfg"] == {"nms", "nms_pre", "score_thr"} | ways
    assert settings_read(OwnHead)["train_cfg"] == {"assigner", "seventh"}


def test_only_a_file_may_hold_what_a_users_head_may_hand_on():
    taken, takes_more = settings_taken(OwnHead, "test_cfg", is_file=True)
    assert takes_more and "operating_points" in taken
    assert settings_taken(OwnHead, "test_cfg", is_file=False) == (taken, False)
    assert not settings_taken(RVTYOLOXHead, "test_cfg", is_file=True)[1]


def test_a_users_head_in_files_and_options(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, "OwnHead", OwnHead)
    path = tmp_path / "mine.py"
    path.write_text(
        f"_base_ = {str(ROOT / CONFIG)!r}\n"
        "model = dict(bbox_head=dict(type='OwnHead'), test_cfg=dict(first=1, eighth=2))"
    )
    cfg = Config.fromfile(path)
    check_keys(cfg, path)
    check_options(cfg, {"model.test_cfg.second": 1})
    with pytest.raises(
        InputError, match=r"model.test_cfg.ninth\nmodel.test_cfg under OwnHead takes fifth"
    ):
        check_options(cfg, {"model.test_cfg.ninth": 1})
