# seed_experiment.py for two CPU cores and an hour: the demo's simulated data, width 16, 2,700
# samples per run. `make demo` makes the data. Then:
# python tools/ablate.py configs/ablations/seed_experiment_small.py --devices cpu cpu
_base_ = "./seed_experiment.py"

samples = 2_700
common = {
    "data_root": "data/demo/",
    "base_lr": 8e-3,
    "param_scheduler.0.pct_start": 0.05,
    "model.backbone.embed_dims": 16,
    "model.backbone.head_dim": 16,
    "model.backbone.partition_size": [2, 3],
    "model.neck.num_csp_blocks": 1,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
# Thresholds from the demo's boxes (python tools/inspect_data.py CONFIG --thresholds). The default
# thresholds, 32² and 96² px, are for frames of 640x360; with them 94 % of the demo's boxes would
# weigh more than 1, and almost alike.
runs = {
    name: dict(
        options={
            "model.bbox_head.loss_bbox.small_area": 128.4,
            "model.bbox_head.loss_bbox.medium_area": 263.9,
        }
    )
    for name in _base_.runs
    if "sizeaware" in name and not name.endswith("as_run")
}
runs["sizeaware_32px"] = dict(config="configs/sizeaware.py", note="thresholds of 32² and 96² px")
runs["patch2_sizeaware_batch6_32px"] = dict(
    config="configs/patch2_sizeaware_batch6.py", note="thresholds of 32² and 96² px"
)
runs["patch2_sizeaware_batch2_third"]["samples"] = 900
runs["patch2_stages234_sizeaware_batch2_as_run"] = dict(samples=900, options=dict(base_lr=16e-3))
