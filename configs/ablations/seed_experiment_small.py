# seed_experiment.py for two CPU cores and an hour: the demo's synthetic sample, width 16, 2,700 samples a run.
# make demo makes the data; then: python tools/ablate.py configs/ablations/seed_experiment_small.py --devices cpu cpu
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
runs = dict(
    patch2_stages234_sizeaware_batch2_as_run=dict(samples=900),
    patch2_sizeaware_batch2_as_run=dict(samples=900),
)
