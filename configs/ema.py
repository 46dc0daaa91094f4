# sizeaware.py evaluated with a running average of its weights (over 10,000 steps, fewer at first).
_base_ = "./sizeaware.py"

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="EMAHook",
        ema_type="ExpMomentumEMA",
        momentum=1e-4,
        gamma=2000,
        strict_load=True,
        priority="NORMAL",
    ),
]
