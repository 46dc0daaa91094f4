# The baseline in epochs: one epoch of warm-up, then a cosine schedule.
# An epoch is one pass over the sampler.
_base_ = "./baseline.py"

train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=12, val_interval=1)
param_scheduler = [
    dict(type="LinearLR", by_epoch=True, start_factor=0.05, end=1),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, eta_min_ratio=0.01),
]
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
