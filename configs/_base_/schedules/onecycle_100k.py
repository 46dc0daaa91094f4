# The learning rate is base_lr * sqrt(batch / 8), RVT's rule; it is computed when training starts.
# The batch is that of a weight update: batch_size times optim_wrapper.accumulative_counts.
base_lr = 2e-4
auto_scale_lr = dict(
    enable=False, base_batch_size=8
)  # --auto-scale-lr counts the batches of all processes

train_cfg = dict(type="StreamTrainLoop", max_iters=100000, val_interval=10000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

optim_wrapper = dict(
    type="AmpOptimWrapper",  # without a GPU: float32
    optimizer=dict(type="AdamW", weight_decay=0.0, fused=True),
    clip_grad=dict(type="value", clip_value=1.0),
)
param_scheduler = [
    dict(
        type="OneCycleLR",
        by_epoch=False,
        pct_start=0.005,
        anneal_strategy="linear",
        div_factor=20,
        final_div_factor=500,  # counted from the start: lr / 10000 at the end
    )
]
