custom_imports = dict(imports=["etram_mmdet.plugins"])
default_scope = "mmdet"
runner_type = "StreamRunner"

default_hooks = dict(
    runtime_info=dict(type="LazyRuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook",
        by_epoch=False,
        interval=10000,
        max_keep_ckpts=2,
        save_last=True,
        save_best="coco/AP",
        rule="greater",
    ),
    # draw=True sends frames of validations to vis_backends; tools/test.py --show-dir draws a test's
    visualization=dict(type="EventVisualizationHook"),
    sampler_seed=None,  # StreamBatchSampler counts its own passes
)
custom_hooks = [
    dict(type="ResultsCsvHook"),
    dict(type="EvaluationReportHook"),
    dict(type="RunRecordHook"),
    dict(type="RunSummaryHook"),
    dict(type="FiniteLossHook", interval=50),
    dict(type="DataWaitHook"),
]
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=False)
log_level = "INFO"

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
    rank_timeout_s=300,  # the others end when a process has not answered for so many seconds
)
sync_bn = "torch"
randomness = dict(seed=0)

vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="EventVisualizer", vis_backends=vis_backends)

load_from = None
resume = False
