"""Misspelt keys are refused with the key that was meant; whatever is legal passes."""

from __future__ import annotations

import re
from argparse import ArgumentParser

import pytest
from mmengine.config import Config, DictAction

from etram_mmdet.analysis.runs.plan import load_plan
from etram_mmdet.engine.config.keys import check_keys, check_options
from etram_mmdet.engine.config.known_keys import known_keys
from etram_mmdet.utils.errors import InputError
from tests.helpers.mmdet_configs import ONE_STAGE, one_stage_configs
from tests.helpers.paths import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
ABLATIONS = sorted((ROOT / "configs" / "ablations").glob("*.py"))


@pytest.fixture(scope="module")
def config():
    """Reader of configs, each once: checking does not change them."""
    read = {}

    def get(name: str) -> Config:
        if name not in read:
            read[name] = Config.fromfile(ROOT / "configs" / f"{name}.py")
        return read[name]

    return get


def as_options(words: str) -> dict:
    """Parse the words after ``--cfg-options`` as the tools do."""
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    return parser.parse_args(["--cfg-options", *words.split()]).cfg_options


def written(folder, text: str, base: str = "baseline") -> Config:
    path = folder / "mine.py"
    path.write_text(f'_base_ = "{ROOT}/configs/{base}.py"\n{text}\n')
    return Config.fromfile(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_passes(path):
    check_keys(Config.fromfile(path), path)


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda p: p.stem)
def test_options_of_every_ablation_pass(path, config, monkeypatch):
    monkeypatch.chdir(ROOT)
    for variant in load_plan(path).variants:
        check_options(config(variant.config.stem), variant.options)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("train_dataloder.batch_size=2", "train_dataloder: did you mean train_dataloader?"),
        ("loadfrom=x.pth", "loadfrom: did you mean load_from?"),
        ("train_dataloader.batchsize=2", "did you mean train_dataloader.batch_size?"),
        (
            "train_dataloader.batch_sampler.mod=random",
            "did you mean train_dataloader.batch_sampler.mode?",
        ),
        (
            "train_dataloader.dataset.clip_lenght=5",
            "did you mean train_dataloader.dataset.clip_length?",
        ),
        (
            "train_dataloader.dataset.pipeline.0.probs=.2",
            "did you mean train_dataloader.dataset.pipeline.0.prob?",
        ),
        ("representation.bin=5", "representation.bin: did you mean representation.bins?"),
        ("model.backbone.patchsize=2", "did you mean model.backbone.patch_size?"),
        ("model.micro_batches=2", "did you mean model.micro_batch?"),
        ("model.bbox_head.num_clases=3", "did you mean model.bbox_head.num_classes?"),
        ("model.neck.norm_cfg.momentun=.1", "did you mean model.neck.norm_cfg.momentum?"),
        ("model.test_cfg.score_th=.3", "did you mean model.test_cfg.score_thr?"),
        ("model.test_cfg.iou_threshold=.5", "did you mean model.test_cfg.nms.iou_threshold?"),
        ("model.test_cfg.nms.iou_thr=.5", "did you mean model.test_cfg.nms.iou_threshold?"),
        ("model.train_cfg.asigner.type=X", "did you mean model.train_cfg.assigner?"),
        (
            "model.test_cfg.max_per_img=5",
            "model.test_cfg under RVTYOLOXHead takes nms, nms_pre, operating_points, score",
        ),
        ("model.test_cfg.min_bbox_size=5", "model.test_cfg.min_bbox_size\n"),
        ("model.test_cfg.rpn.nms_pre=5", "model.test_cfg.rpn\n"),
        ("model.train_cfg.pos_weight=2", "model.train_cfg under RVTYOLOXHead takes assigner"),
        (
            "model.train_cfg.score_thr=.3",
            "model.train_cfg.score_thr: did you mean model.test_cfg.score_thr",
        ),
        (
            "model.bbox_head.test_cfg.score_thr=.3",
            "model.bbox_head.test_cfg: did you mean model.test_cfg?",
        ),
        (
            "model.bbox_head.train_cfg.assigner.type=X",
            "model.bbox_head.train_cfg: did you mean model.train_cfg?",
        ),
        (
            "tta_model.type=StreamTTAModel tta_model.tta_cfg.score_thr=.1",
            "did you mean model.test_cfg.score_thr",
        ),
        (
            "optim_wrapper.optimizer.weigth_decay=.1",
            "did you mean optim_wrapper.optimizer.weight_decay?",
        ),
        ("optim_wrapper.clip_grad.clip_val=1", "did you mean optim_wrapper.clip_grad.clip_value?"),
        (
            "optim_wrapper.paramwise_cfg.norm_decay_mul=0",
            "optim_wrapper.paramwise_cfg.norm_decay_mult?",
        ),
        ("param_scheduler.0.pct_strat=.1", "did you mean param_scheduler.0.pct_start?"),
        (
            "default_hooks.checkpoint.intervall=100",
            "did you mean default_hooks.checkpoint.interval?",
        ),
        ("default_hooks.chekpoint.interval=100", "did you mean default_hooks.checkpoint?"),
        ("default_hooks.logger.intervals=2", "did you mean default_hooks.logger.interval?"),
        ("randomness.sed=1", "randomness.sed: did you mean randomness.seed?"),
        ("auto_scale_lr.enabled=True", "did you mean auto_scale_lr.enable?"),
        ("env_cfg.mp_cfg.opencv_num_thread=0", "did you mean env_cfg.mp_cfg.opencv_num_threads?"),
        ("env_cfg.cudnn_bench=True", "did you mean env_cfg.cudnn_benchmark?"),
        ("env_cfg.dist_cfg.backen=gloo", "did you mean env_cfg.dist_cfg.backend?"),
        ("test_evaluator.protocol=coco", "did you mean test_evaluator.protocols?"),
        ("log_processor.windowsize=5", "did you mean log_processor.window_size?"),
        ("train_cfg.max_iter=4", "did you mean train_cfg.max_iters?"),
        (
            "train_dataloader.collate_fn.type=pseudo_collate train_dataloader.collate_fn.batch=1",
            "takes data_batch",
        ),
        (
            "test_evaluator.type=CocoMetric test_evaluator.ann_fil=x",
            "did you mean test_evaluator.ann_file?",
        ),
        ("max_iters=4", "max_iters: did you mean train_cfg.max_iters?"),
        ("model.num_classes=3", "did you mean model.bbox_head.num_classes?"),
        (
            "nonsense=1",
            "nonsense\nThe top level (besides variables that the file itself uses) takes "
            "activation_",
        ),
        ("model.backbone.nonsense=1", "model.backbone.nonsense\nMaxViTRNN takes dim_mults"),
        ("model.backbone.type=MaxViTRN", "model.backbone.type: did you mean MaxViTRNN?"),
        (
            "optim_wrapper.type=OptimWrapper optim_wrapper.loss_scale=dynamic",
            "OptimWrapper takes accumulative_counts",
        ),
        (
            "model.bbox_head.loss_bbox.type=SizeAwareIoULoss "
            "model.bbox_head.loss_bbox.size_weigth=3",
            "size_weight?",
        ),
    ],
)
def test_a_misspelt_option_is_refused_with_what_was_meant(words, meant, config):
    with pytest.raises(InputError, match=re.escape(meant)) as refusal:
        check_options(config("baseline"), as_options(words))
    assert str(refusal.value).startswith("--cfg-options")


@pytest.mark.parametrize(
    "option",
    [
        *(
            "param_scheduler.pct_start",
            "param_scheduler.1.pct_start",
            "param_scheduler.0",
            "param_scheduler.x.y",
        ),
        *("model.backbone.patch_size.x", "model.backbone.out_stages.0"),
    ],
)
def test_an_option_has_to_lead_to_a_key(option, config):
    with pytest.raises(
        InputError, match=f"^--cfg-options {re.escape(option)}: .* In a list, give the number"
    ):
        check_options(config("baseline"), {option: 1})


@pytest.mark.parametrize(
    "words",
    [
        "data_root=x/ class_set=etram3 window_us=20000 base_lr=5e-3",
        "representation.bins=5",
        "load_from=x.pth resume=True work_dir=x",
        "model.backbone=None",
        "model.neck=None model.test_cfg.nms.iou_threshold=.5",
        "model.micro_batch=2 model.with_cp=True model.backbone.with_cp=True",
        "model.neck.out_channels=64",
        "model.backbone.partition_size=(1,3)",
        "model.neck.norm_cfg.requires_grad=False",
        "model.neck.norm_cfg.type=SyncBN model.neck.norm_cfg.requires_grad=False",
        "model.bbox_head.loss_bbox.type=SizeAwareIoULoss model.bbox_head.loss_bbox.size_weight=3",
        "model.test_cfg.nms_pre=10 model.test_cfg.operating_points.car=.3",
        "model.bbox_head.type=RTMDetHead model.test_cfg.max_per_img=10 "
        "model.train_cfg.pos_weight=-1",
        "model.bbox_head.type=HeadThatNobodyKnows model.test_cfg.max_per_img=10 "
        "model.train_cfg.debug=False",
        "tta_model.type=StreamTTAModel tta_model.tta_cfg.max_per_img=5 "
        "tta_model.tta_cfg.nms.iou_threshold=.5",
        "model.backbone.init_cfg.type=Kaiming model.backbone.init_cfg.layer=Conv2d",
        "train_dataloader.dataset.type=RawEventDataset "
        "train_dataloader.dataset.event_pipeline=None",
        "train_dataloader.dataset.pipeline.0.prob=.2",
        "train_dataloader.dataset.metainfo.classes=(a,b)",
        "train_dataloader.batch_sampler.mode=random train_dataloader.pin_memory=True",
        "train_dataloader.num_batch_per_epoch=2 train_dataloader.collate_fn.type=pseudo_collate",
        "val_dataloader=None val_evaluator=None val_cfg=None",
        "test_dataloader.dataset.split=val",
        "test_evaluator.protocols=(coco,prophesee)",
        "test_evaluator.type=MetricThatNobodyKnows test_evaluator.anything=1",
        "optim_wrapper.type=AmpOptimWrapper optim_wrapper.loss_scale=dynamic "
        "optim_wrapper.dtype=bfloat16",
        "optim_wrapper.type=OptimWrapper optim_wrapper.accumulative_counts=2",
        "optim_wrapper.clip_grad.type=norm optim_wrapper.clip_grad.max_norm=1 "
        "optim_wrapper.constructor=Mine",
        "optim_wrapper.paramwise_cfg.norm_decay_mult=0 optim_wrapper.paramwise_cfg.my_rule=1",
        "optim_wrapper.optimizer.lr=1e-3",
        "param_scheduler.0.pct_start=.1 param_scheduler.0.convert_to_iter_based=True",
        "train_cfg.max_iters=4 train_cfg.val_begin=1 train_cfg.val_interval=2",
        "default_hooks.checkpoint.interval=2 default_hooks.logger.interval=1 "
        "default_hooks.timer=None",
        "default_hooks.ema.type=EMAHook default_hooks.ema.momentum=1e-4 "
        "default_hooks.ema.priority=NORMAL",
        "default_hooks.timer.priority=LOW custom_hooks.0.priority=LOW",
        "auto_scale_lr.enable=True randomness.seed=1 randomness.deterministic=True",
        "env_cfg.dist_cfg.timeout=1800 env_cfg.dist_cfg.port=29500 sync_bn=None",
        "visualizer.vis_backends.0.save_dir=x",
    ],
)
def test_a_legal_option_passes(words, config):
    before = config("baseline").to_dict()
    check_options(config("baseline"), as_options(words))
    assert config("baseline").to_dict() == before


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("train_dataloder = dict(batch_size=2)", "train_dataloder: did you mean train_dataloader?"),
        ("modle = dict(micro_batch=2)", "modle: did you mean model?"),
        ("model = dict(backbone=dict(patchsize=2))", "did you mean model.backbone.patch_size?"),
        ("model = dict(test_cfg=dict(score_th=0.3))", "did you mean model.test_cfg.score_thr?"),
        (
            "default_hooks = dict(checkpoint=dict(save_bests='coco/AP'))",
            "default_hooks.checkpoint.save_best?",
        ),
        (
            "model = dict(bbox_head=dict(type='mmdet.RetinaHead', stackd_convs=4))",
            "did you mean model.bbox_head.stacked_convs?",
        ),
        (
            "custom_hooks = [dict(type='EMAHook', strict_laod=True)]",
            "did you mean custom_hooks.0.strict_load?",
        ),
        ("custom_hooks = [dict(type='EMAHok')]", "custom_hooks.0.type: did you mean EMAHook?"),
        (
            "model = dict(test_cfg=dict(max_per_img=5))",
            "max_per_img\nmodel.test_cfg under RVTYOLOXHead takes",
        ),
        (
            "model = dict(train_cfg=dict(debug=False))",
            "debug\nmodel.train_cfg under RVTYOLOXHead takes",
        ),
        (
            "model = dict(bbox_head=dict(type='YOLOXHead'), test_cfg=dict(min_bbox_size=0))",
            "under YOLOXHead takes nms",
        ),
        (
            "model = dict(bbox_head=dict(type='PAAHead'), test_cfg=dict(own=0))",
            "under PAAHead takes max_per_img",
        ),
        (
            "train_cfg = dict(_delete_=True, by_epoch=False, max_iter=4)",
            "did you mean train_cfg.max_iters?",
        ),
        ("val_cfg = dict(_delete_=True, fp_16=True)", "did you mean val_cfg.fp16?"),
        ("test_cfg = dict(_delete_=True, fp_16=True)", "did you mean test_cfg.fp16?"),
        ("test_evaluator = dict(_delete_=True, metric=[])", "did you mean test_evaluator.metrics?"),
        (
            "log_processor = dict(_delete_=True, windowsize=5)",
            "did you mean log_processor.window_size?",
        ),
        (
            "optim_wrapper = dict(_delete_=True, clip_grads=None)",
            "did you mean optim_wrapper.clip_grad?",
        ),
        (
            "val_dataloader = dict(dataset=dict(pipeline=[dict(type='PackClip', x=1)]))",
            "dataset.pipeline.0.x\n",
        ),
        ("env_cfg = {1: 2}", "env_cfg.1\nenv_cfg takes cudnn_benchmark"),
    ],
)
def test_a_misspelt_key_of_a_file_is_refused_with_what_was_meant(text, meant, tmp_path):
    with pytest.raises(InputError, match=re.escape(meant)) as refusal:
        check_keys(written(tmp_path, text), "mine.py")
    assert str(refusal.value).startswith("mine.py: unknown keys or wrong values\n")


@pytest.mark.parametrize(
    "text",
    [
        "width = 32\nmodel = dict(backbone=dict(embed_dims=width))",
        "_load_from = 1\nevaluator = dict(type='EventCocoMetric')\ntest_evaluator = evaluator",
        "custom_hooks = [dict(type='EMAHook', momentum=1e-4, gamma=2000, priority='NORMAL')]",
        "model = dict(bbox_head=dict(type='PAAHead'), test_cfg=dict(min_bbox_size=0), "
        "train_cfg=dict(debug=False))",
        "model = dict(backbone=dict(init_cfg=[dict(type='Normal', std=1, "
        "override=dict(type='Normal', name='x'))]))",
        "model = dict(bbox_head=dict(_delete_=True, type='mmdet.RetinaHead', num_classes=8, "
        "in_channels=64))",
        "log_processor = dict(_delete_=True, window_size=5)",
        "train_cfg = dict(_delete_=True, by_epoch=False, max_iters=4)",
        "optim_wrapper = dict(_delete_=True, constructor='Mine', "
        "one=dict(optimizer=dict(type='SGD', lr=1)))",
        "model = dict(neck=dict(_delete_=True, type='NeckThatNobodyKnows', anything=1))",
    ],
)
def test_a_legal_file_passes(text, tmp_path):
    check_keys(written(tmp_path, text), "mine.py")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "train_dataloader.num_workers=four",
            "train_dataloader.num_workers is 'four', expected int",
        ),
        ("train_dataloader.batch_size=auto", "train_dataloader.batch_size is 'auto', expected int"),
        ("train_dataloader.persistent_workers=yes", "persistent_workers is 'yes', expected bool"),
        ("train_cfg.max_iters=1.5e0", "train_cfg.max_iters is 1.5, expected int"),
        ("train_cfg.max_iters=0", "train_cfg.max_iters is 0, expected at least 1"),
        ("train_cfg.max_iters=-1", "train_cfg.max_iters is -1, expected at least 1"),
        ("train_cfg.val_interval=0", "train_cfg.val_interval is 0, expected at least 1"),
        (
            "train_dataloader.num_workers=-1",
            "train_dataloader.num_workers is -1, expected at least 0",
        ),
        ("train_dataloader.batch_size=0", "train_dataloader.batch_size is 0, expected at least 1"),
        ("model.backbone.embed_dims=None", "model.backbone.embed_dims is None, expected int"),
        ("representation.bins=None", "representation.bins is None, expected int"),
        (
            "model.bbox_head.loss_cls.loss_weight=2",
            "loss_cls has no type; the default of RVTYOLOXHead is {'type': 'CrossEntropy",
        ),
        ("log_level=DEBUGG", "log_level is 'DEBUGG'; did you mean DEBUG?"),
        ("randomness.seed=-1", "randomness.seed is -1, expected at least 0"),
        ("base_lr=fast", "base_lr is 'fast', expected float"),
        ("auto_scale_lr.base_batch_size=[8]", "auto_scale_lr.base_batch_size is [8], expected int"),
        ("model.test_cfg.score_thr=low", "model.test_cfg.score_thr is 'low', expected float"),
        (
            "model.backbone.out_stages=(1,two,3)",
            "model.backbone.out_stages is (1, 'two', 3), expected tuple[int, ...]",
        ),
        ("model.bbox_head.type=5", "model.bbox_head.type is 5, expected the name of a class"),
        ("model.bbox_head.type=None", "model.bbox_head.type is None, expected the name of a class"),
        ("default_hooks.timer=often", "default_hooks.timer is 'often', expected dict"),
        (
            "model.bbox_head.stacked_convs=many",
            "model.bbox_head.stacked_convs is 'many', expected float or list",
        ),
        ("model.backbone.patch_size=two", "model.backbone.patch_size is 'two', expected int"),
        ("model.backbone.patch_size=(2,2)", "model.backbone.patch_size is (2, 2), expected int"),
        ("randomness.seed=abc", "randomness.seed is 'abc', expected int"),
        ("resume=last", "resume is 'last', expected bool"),
        ("load_from=5", "load_from is 5, expected str"),
        (
            "train_dataloader.dataset.data_root=5",
            "train_dataloader.dataset.data_root is 5, expected str",
        ),
        (
            "default_hooks.checkpoint.interval=often",
            "default_hooks.checkpoint.interval is 'often', expected int",
        ),
        (
            "param_scheduler.0.pct_start=half",
            "param_scheduler.0.pct_start is 'half', expected float",
        ),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(words, says, config):
    with pytest.raises(InputError, match=re.escape(says)) as refusal:
        check_options(config("baseline"), as_options(words))
    assert str(refusal.value).startswith("--cfg-options: unknown keys or wrong values\n")


@pytest.mark.parametrize(
    "words",
    [
        "train_dataloader.batch_size=None train_dataloader.persistent_workers=0 "
        "train_dataloader.timeout=2",
        "train_cfg.max_iters=1e3",
        "param_scheduler.0.pct_start=1 param_scheduler.0.div_factor=20",
        "log_level=10",
        "model.neck.num_csp_blocks=1.5",
    ],
)
def test_values_of_a_looser_type_pass(words, config):
    check_options(config("baseline"), as_options(words))


def test_a_wrong_value_of_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model\.backbone\.head_dim is 'wide', expected int"):
        check_keys(written(tmp_path, "model = dict(backbone=dict(head_dim='wide'))"), "mine.py")


@pytest.mark.parametrize("folder", ONE_STAGE)
def test_one_stage_configs_of_mmdet_pass(folder):
    assert one_stage_configs(folder)
    for path, cfg in one_stage_configs(folder):
        check_keys(cfg, path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "num_classes = 3",
            "\n  num_classes: did you mean model.bbox_head.num_classes?\nThe top level (beside",
        ),
        (
            "metainfo = dict(classes=('a',))",
            "metainfo: did you mean class_set or train_dataloader.dataset.metainfo",
        ),
        ("lr = 1\nrate = lr", "\n  rate\n"),
        ("size_thresholds = dict(small_area=1)", "\n  size_thresholds\n"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused(text, says, tmp_path):
    with pytest.raises(InputError, match=re.escape(says)):
        check_keys(written(tmp_path, text, "patch2_sizeaware_datadriven"), "mine.py")


@pytest.mark.parametrize("option", ["own=2", "vis_backends.0.save_dir=x", "metainfo.classes=(a,b)"])
def test_options_cannot_set_a_variable_that_was_used_already(option, config):
    foreign = Config(dict(config("baseline").to_dict(), own=1, metainfo=dict()))
    with pytest.raises(InputError, match=f"\n  {option.split('.')[0].split('=')[0]}"):
        check_options(foreign, as_options(option))


def test_all_unknown_keys_are_named_but_only_five_shown(config):
    words = [f"model.backbone.x{i}=1" for i in range(7)]
    with pytest.raises(InputError) as refusal:
        check_options(config("baseline"), as_options(" ".join(words[:5])))
    assert str(refusal.value).count("model.backbone.x") == 5 and "..." not in str(refusal.value)
    with pytest.raises(InputError) as refusal:
        check_options(config("baseline"), as_options(" ".join(words)))
    assert str(refusal.value).count("model.backbone.x") == 5 and "\n  ...\n" in str(refusal.value)


def test_options_are_not_blamed_for_what_a_config_holds_already(config):
    foreign = Config(dict(config("baseline").to_dict(), own=1))
    foreign.model.backbone.future = 1
    foreign.train_dataloader.num_workers = "four"
    check_options(foreign, {"randomness.seed": 1})
    with pytest.raises(InputError, match="num_workers is 'five'"):
        check_options(foreign, {"train_dataloader.num_workers": "five"})


def test_the_values_of_options_stay_as_they_are(config):
    options = {"representation": {"_delete_": True, "type": "TimeSurface"}}
    check_options(config("baseline"), options)
    assert options == {"representation": {"_delete_": True, "type": "TimeSurface"}}


def test_every_key_of_the_base_configs_is_known(config):
    known = known_keys({}, "")
    assert set(config("baseline")) - known.types.keys() == {"vis_backends"}
