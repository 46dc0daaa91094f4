# patch2_sizeaware.py small enough for two CPU cores and ten minutes: only width, resolution and
# schedule differ.
_base_ = "./patch2_sizeaware.py"

data_root = "data/demo/"
model = dict(
    backbone=dict(embed_dims=16, head_dim=16, partition_size=(4, 6)),
    neck=dict(num_csp_blocks=1, out_channels=32),
)
# on two cores a loading process gets in the way of the training threads
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=4, num_workers=1)
test_dataloader = dict(val_dataloader, dataset=dict(split="val"))

base_lr = 8e-3
param_scheduler = [
    dict(_base_.param_scheduler[0], pct_start=0.05)
]  # so few steps need a longer warm-up
train_cfg = dict(max_iters=850, val_begin=851)  # the demo evaluates once, with tools/test.py
default_hooks = dict(checkpoint=dict(interval=50), logger=dict(interval=20))
