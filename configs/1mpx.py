# RVT-B on Prophesee's 1 Megapixel data, with RVT's settings (its config/experiment/gen4).
# See docs/reproduce_rvt.md.
_base_ = "./baseline.py"

data_root = "data/1mpx/"
class_set = "1mpx"

train_dataloader = dict(batch_size=24, num_workers=6)  # RVT: two GPUs with 12 each
train_cfg = dict(max_iters=400000)

# RVT's protocol: small boxes and the first half second are left out, and detections rank by
# class probability.
val_evaluator = dict(protocols=("prophesee:class", "coco"))
test_evaluator = dict(protocols=("prophesee:class", "coco"))
default_hooks = dict(checkpoint=dict(save_best="prophesee:class/AP"))
