# Four scales, size-aware loss, and a second head for small road users on two levels.
# The first experiment called it "ABC_sod_basic" (docs/ablation.md).
_base_ = "./fourscale_sizeaware.py"

model = dict(bbox_head=dict(type="AuxSmallYOLOXHead"))
