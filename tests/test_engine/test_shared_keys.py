"""Each data key is set once in a config and reaches everything that reads it."""

from __future__ import annotations

import json
import re

import pytest
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.shared_keys import SHARED, dataset_config, dataset_configs, metainfo_of
from etram_mmdet.engine.config.load import complete_config, load_config
from etram_mmdet.events.class_sets import ETRAM3
from etram_mmdet.models.backbones.partition import better_partition, partition_of
from etram_mmdet.models.building import build_detector, complete_partition
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

VALUES = {
    "data_root": "elsewhere/",
    "class_set": "etram3_from8",
    "representation": dict(type="TernaryVolume", bins=5, downsample="sum"),
    "window_us": 20_000,
}
CONFIGS = ("baseline", "baseline_from_raw", "patch2_sizeaware_demo", "patch2_sizeaware_abc")


def child(folder, base: str, text: str):
    path = folder / "mine.py"
    path.write_text(f"_base_ = {str(ROOT / 'configs' / f'{base}.py')!r}\n{text}\n")
    return path


def line(key: str) -> str:
    if key == "representation":  # in mmengine a dict of a child is merged unless it says otherwise
        return f"representation = dict(_delete_=True, **{VALUES[key]!r})"
    return f"{key} = {VALUES[key]!r}"


def said(cfg: Config, key: str) -> list:
    values = [dataset[key] for _, dataset in dataset_configs(cfg)]
    assert len(values) == 3
    return values


@pytest.mark.parametrize("base", CONFIGS)
@pytest.mark.parametrize("key", SHARED)
def test_one_line_in_a_child_config_is_enough(key, base, tmp_path):
    cfg = load_config(child(tmp_path, base, line(key)))
    assert said(cfg, key) == [VALUES[key]] * 3
    assert cfg.model.bbox_head.num_classes == (3 if key == "class_set" else 8)
    assert cfg.model.backbone.in_channels == (5 if key == "representation" else 20)


@pytest.mark.parametrize("key", SHARED)
def test_one_option_is_enough(key):
    options = {key: VALUES[key]}
    if key == "representation":
        options = {
            "representation._delete_": True,
            **{f"representation.{k}": v for k, v in VALUES[key].items()},
        }
    cfg = load_config(
        ROOT / "configs" / "baseline.py", {key: VALUES[key]} if key != "representation" else options
    )
    assert said(cfg, key) == [VALUES[key]] * 3


@pytest.mark.parametrize("base", CONFIGS)
def test_a_class_set_of_ones_own_reaches_every_data_set_as_what_it_holds(base, tmp_path):
    own = dict(
        name="street", classes=["car", "bus"], mapping={"1": "car", "2": "bus"}, leave_out=["tram"]
    )
    (tmp_path / "street.json").write_text(json.dumps(own))
    path = str(tmp_path / "street.json")
    of_dict = dict(
        own,
        classes=("car", "bus"),
        mapping={1: "car", 2: "bus"},
        leave_out=("tram",),
        _delete_=True,
    )
    cfg = load_config(child(tmp_path, base, f"class_set = {path!r}"))
    assert said(cfg, "class_set") == [own] * 3 and cfg.model.bbox_head.num_classes == 2
    assert (
        said(load_config(child(tmp_path, base, f"class_set = {of_dict!r}")), "class_set")
        == [own] * 3
    )
    assert (
        said(load_config(ROOT / "configs" / f"{base}.py", {"class_set": path}), "class_set")
        == [own] * 3
    )
    cfg.dump(tmp_path / "dumped.py")
    (tmp_path / "street.json").unlink()
    assert said(load_config(tmp_path / "dumped.py"), "class_set") == [own] * 3


def test_metainfo_chooses_classes_by_an_option(tmp_path):
    loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
    options = {f"{loader}.dataset.metainfo.classes": ["bus", "car"] for loader in loaders}
    cfg = load_config(ROOT / "configs" / "baseline.py", options)
    assert cfg.model.bbox_head.num_classes == 2 and metainfo_of(dataset_config(cfg))["classes"] == (
        "bus",
        "car",
    )
    with pytest.raises(
        InputError, match=r"wheelchair, but test_dataloader.dataset has bus, car; a network"
    ):
        load_config(
            ROOT / "configs" / "baseline.py",
            {"test_dataloader.dataset.metainfo.classes": ["bus", "car"]},
        )


@pytest.mark.parametrize("key", SHARED)
def test_an_option_replaces_what_a_dumped_config_says(key, tmp_path):
    """A dumped config is complete: it says everything in every data set."""
    load_config(ROOT / "configs" / "baseline.py").dump(tmp_path / "dumped.py")
    value = "x" if key == "data_root" else VALUES[key]
    if key in (
        "class_set",
        "representation",
    ):  # the numbers of the model are those of the dumped config
        with pytest.raises(InputError, match=r"num_classes=8|in_channels=20"):
            load_config(tmp_path / "dumped.py", {key: value})
        return
    assert said(load_config(tmp_path / "dumped.py", {key: value}), key) == [value] * 3


@pytest.mark.parametrize("key", SHARED)
def test_a_contradiction_names_both_places(key, tmp_path):
    value = VALUES[key]
    text = f"{line(key)}\nval_dataloader = dict(dataset=dict({key}={value!r}))\n"
    load_config(child(tmp_path, "baseline", text))  # the same twice is none
    other = child(tmp_path, "baseline", f"val_dataloader = dict(dataset=dict({key}={value!r}))")
    with pytest.raises(
        InputError,
        match=rf"{key} is .* at the top of the config, but val_dataloader\.dataset\.{key} is",
    ):
        load_config(other)


@pytest.mark.parametrize("base", ["baseline", "dumped"])
def test_options_may_not_contradict_each_other(base, tmp_path):
    """One option for all data sets, one for a single data set: neither may win in silence."""
    load_config(ROOT / "configs" / "baseline.py").dump(tmp_path / "dumped.py")
    path = tmp_path / "dumped.py" if base == "dumped" else ROOT / "configs" / "baseline.py"
    with pytest.raises(
        InputError,
        match=r"data_root is 'a/' at the top .* val_dataloader\.dataset\.data_root is 'b/'",
    ):
        load_config(path, {"val_dataloader.dataset.data_root": "b/", "data_root": "a/"})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("data_root", 5, "data_root is 5, expected str"),
        ("class_set", ["etram8"], r"class_set is \['etram8'\], expected str"),
        ("window_us", "50ms", "window_us is '50ms', expected int"),
        ("representation", "TimeSurface", r"expected dict, such as dict\(type='TimeSurface'\)"),
    ],
)
def test_a_value_of_another_type_is_refused(key, value, says, tmp_path):
    with pytest.raises(InputError, match=says):
        load_config(ROOT / "configs" / "baseline.py", {key: value})
    text = f"{key} = None\ntrain_dataloader = dict(dataset=dict({key}={value!r}))"
    with pytest.raises(InputError):
        load_config(child(tmp_path, "baseline", text))


def test_a_path_is_a_data_root(tmp_path):
    cfg = load_config(ROOT / "configs" / "baseline.py", {"data_root": tmp_path})
    assert said(cfg, "data_root") == [tmp_path] * 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "class_set = 'etram3'\nmodel = dict(bbox_head=dict(num_classes=8))",
            r"model\.bbox_head\.num_classes=8, but train_dataloader\.dataset has 3 classes "
            r"\(pedestrian, vehicle",
        ),
        (
            "model = dict(backbone=dict(in_channels=10))",
            r"model\.backbone\.in_channels=10, but train_dataloader\.dataset has frames of 20 "
            r"channels",
        ),
        (
            "class_set = None\nval_dataloader = dict(dataset=dict(class_set='cls8_sample'))",
            r"train_dataloader\.dataset has the classes pedestrian.*but val_dataloader\.dataset "
            r"has Car",
        ),
        (
            "representation = None\n"
            "val_dataloader = dict(dataset=dict(representation=dict(type='TimeSurface')))",
            r"train_dataloader\.dataset has frames of 20 channels, but "
            r"val_dataloader\.dataset of 2",
        ),
    ],
)
def test_what_follows_may_not_be_contradicted(text, says, tmp_path):
    with pytest.raises(InputError, match=says):
        load_config(child(tmp_path, "baseline", text))


def test_data_sets_may_name_their_own_where_the_top_is_silent(tmp_path):
    """Two cities whose label files follow different rules, of the same three classes."""
    text = (
        "data_root = None\nclass_set = None\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[\n"
        "    dict(type='ETraMDataset', data_root='a/', split='train', class_set='etram3', "
        "pipeline=[]),\n"
        "    dict(type='ETraMDataset', data_root='b/', split='train', class_set='etram3_from8', "
        "pipeline=[])]))\n"
        "val_dataloader = dict(dataset=dict(data_root='a/', class_set='etram3'))\n"
        "test_dataloader = dict(dataset=dict(data_root='b/', class_set='etram3_from8'))\n"
    )
    cfg = load_config(child(tmp_path, "baseline", text))
    assert [dataset["data_root"] for _, dataset in dataset_configs(cfg)] == ["a/", "b/", "a/", "b/"]
    assert [dataset["window_us"] for _, dataset in dataset_configs(cfg)] == [50_000] * 4
    assert cfg.model.bbox_head.num_classes == 3


def test_base_model_states_nothing_that_follows():
    model = Config.fromfile(ROOT / "configs" / "_base_" / "models" / "rvt.py").model
    following = {
        "in_channels",
        "out_channels",
        "feat_channels",
        "strides",
        "num_classes",
        "size_divisor",
    }
    assert not following & {
        key for part in ("backbone", "neck", "bbox_head") for key in model[part]
    }


def test_a_complete_config_stays_as_it_is(tmp_path):
    cfg = load_config(ROOT / "configs" / "patch2_sizeaware.py", {"class_set": "etram3_from8"})
    before = cfg.to_dict()
    complete_config(cfg)
    assert cfg.to_dict() == before
    cfg.dump(tmp_path / "dumped.py")
    again = MODELS.build(
        Config.fromfile(tmp_path / "dumped.py").model
    )  # what mmdet's own init_detector does
    ours = build_detector(cfg)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }
    assert again.bbox_head.num_classes == len(ETRAM3)


def test_configs_of_others_stay_as_they_are():
    """A model of mmdet on data that are not ours."""
    cfg = Config(
        dict(
            model=dict(
                type="RetinaNet",
                backbone=dict(type="ResNet", depth=18),
                bbox_head=dict(type="RetinaHead", num_classes=80),
            ),
            train_dataloader=dict(dataset=dict(type="CocoDataset", data_root="coco/")),
        )
    )
    complete_config(cfg)
    assert "in_channels" not in cfg.model.backbone and cfg.model.bbox_head.num_classes == 80


@pytest.mark.parametrize(
    ("hw", "partition"),
    [((360, 640), (6, 10)), ((384, 640), (6, 10)), ((240, 320), (4, 5)), ((360, 1280), (6, 20))],
)
def test_attention_groups_follow_from_the_frame(hw, partition):
    """RVT's rule: the padded size divided by 64."""
    assert partition_of(hw) == partition


@pytest.mark.parametrize(
    ("hw", "partition", "better"),
    [
        ((240, 320), (6, 10), (4, 5)),  # 384 x 320 instead of 256 x 320
        ((240, 320), (7, 9), (4, 5)),  # 448 x 576
        ((240, 320), (4, 5), None),
        ((360, 640), (6, 10), None),  # 384 x 640: seven percent
        ((130, 128), (3, 2), (5, 2)),  # 192 x 128 instead of 160 x 128
    ],
)
def test_a_better_group_is_known(hw, partition, better):
    assert better_partition(hw, partition, 32) == better


def test_groups_that_are_left_out_follow_from_the_data(sample):
    cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"data_root": f"{sample}/"})
    del cfg.model.backbone["partition_size"]
    assert (
        build_detector(cfg).backbone.partition_size == (1, 1) == cfg.model.backbone.partition_size
    )
    cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"data_root": "nowhere/"})
    del cfg.model.backbone["partition_size"]
    with pytest.raises(
        InputError, match=r"partition_size is left out.*nowhere.*RVT's rule, the padded size"
    ):
        build_detector(cfg)


class OwnData(ETraMDataset):
    """A data set of a user that is always read at once."""

    def __init__(self, data_root, split, pipeline, representation, **_others):
        super().__init__(data_root, split, pipeline, representation)


class ImpatientData(ETraMDataset):
    """The same without room for other arguments."""

    def __init__(self, data_root, split, pipeline, representation, test_mode=False):
        super().__init__(data_root, split, pipeline, representation, test_mode=test_mode)


@pytest.mark.parametrize("kind", [OwnData, ImpatientData])
def test_groups_follow_from_data_of_a_user_that_cannot_wait_to_be_read(sample, kind):
    cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"data_root": f"{sample}/"})
    kept = ("data_root", "representation", "split", "pipeline", "test_mode")
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset = {k: v for k, v in loader.dataset.items() if k in kept} | dict(type=kind)
    cfg.model.backbone.partition_size = None
    complete_partition(cfg)
    assert cfg.model.backbone.partition_size == (1, 1)


def test_data_without_a_folder_is_a_sentence():
    cfg = load_config(ROOT / "configs" / "baseline.py", {"data_root": "x/"})
    with pytest.raises(
        InputError, match=r"data_root=None, split='train'; set data_root at the top"
    ):
        DATASETS.build({k: v for k, v in cfg.train_dataloader.dataset.items() if k != "data_root"})


def test_a_schedule_that_would_never_move_is_refused(tmp_path):
    text = "param_scheduler = [dict(type='MultiStepLR', milestones=[8, 11])]"
    with pytest.raises(
        InputError, match=r"param_scheduler\.0: MultiStepLR counts epochs .* Set by_epoch=False"
    ):
        load_config(child(tmp_path, "baseline", text))


def test_what_images_need_is_refused(tmp_path):
    cfg = load_config(
        child(
            tmp_path,
            "baseline_tiny",
            "model = dict(data_preprocessor=dict(type='DetDataPreprocessor'))",
        )
    )
    with pytest.raises(
        InputError, match="DetDataPreprocessor takes images; leave data_preprocessor out"
    ):
        build_detector(cfg)


@pytest.mark.parametrize("page", ["plugins", "mmdetection"])
def test_configs_in_the_docs_load(page, tmp_path):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    snippets = [s for s in re.findall(r"```python\n(.*?)```", text, re.S) if "_base_" in s]
    assert snippets
    for snippet in snippets:
        (tmp_path / "doc.py").write_text(
            snippet.replace('"./baseline.py"', repr(str(ROOT / "configs" / "baseline_tiny.py")))
        )
        build_detector(load_config(tmp_path / "doc.py"))


def test_a_time_surface_says_in_a_config_what_age_counts_from(tmp_path):
    """A checkpoint without that option is then known to come from an earlier version."""
    cfg = load_config(
        child(tmp_path, "baseline", "representation = dict(_delete_=True, type='TimeSurface')")
    )
    assert said(cfg, "representation") == [dict(type="TimeSurface", edges="window")] * 3
    assert cfg.representation.edges == "window"
    asked = "representation = dict(_delete_=True, type='TimeSurface', edges='events')"
    assert (
        said(load_config(child(tmp_path, "baseline", asked)), "representation")[0]["edges"]
        == "events"
    )
    assert load_config(ROOT / "configs/time_surface.py").representation.edges == "window"


def test_a_whole_number_may_be_written_with_an_exponent():
    cfg = load_config("configs/baseline.py", dict(window_us=5e4))
    found = [cfg.window_us, *(dataset.window_us for _, dataset in dataset_configs(cfg))]
    assert found == [50_000] * 4 and all(type(value) is int for value in found)
    with pytest.raises(InputError, match=r"window_us is 5\.5, expected int"):
        load_config("configs/baseline.py", dict(window_us=5.5))
