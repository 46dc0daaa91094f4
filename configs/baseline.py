# RVT-B on 8 classes: patch size 4, stages 2-4, strides 8, 16, 32.
_base_ = [
    "./_base_/models/rvt.py",
    "./_base_/datasets/etram.py",
    "./_base_/schedules/onecycle_100k.py",
    "./_base_/default_runtime.py",
]
