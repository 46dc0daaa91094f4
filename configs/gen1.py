# RVT-B on Prophesee's Gen1, with RVT's settings (its config/experiment/gen1).
# See docs/reproduce_rvt.md.
_base_ = "./baseline.py"

data_root = "data/gen1/"
class_set = "gen1"
representation = dict(downsample="none")
model = dict(
    backbone=dict(partition_size=(8, 10))
)  # for frames of 240x304 pixels padded to 256x320

train_dataloader = dict(batch_size=8, num_workers=6, dataset=dict(clip_length=21))
val_dataloader = dict(dataset=dict(clip_length=21))
test_dataloader = dict(dataset=dict(clip_length=21))
train_cfg = dict(max_iters=400000)

# RVT's protocol: small boxes and the first half second are left out, and detections rank by
# class probability.
val_evaluator = dict(protocols=("prophesee_gen1:class", "coco"))
test_evaluator = dict(protocols=("prophesee_gen1:class", "coco"))
default_hooks = dict(checkpoint=dict(save_best="prophesee_gen1:class/AP"))
