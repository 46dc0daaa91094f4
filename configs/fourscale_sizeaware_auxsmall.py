# The origin's "ABC_sod_basic": four scales, size-aware loss, a second head for small road users on two levels.
_base_ = "./fourscale_sizeaware.py"

model = dict(bbox_head=dict(type="AuxSmallYOLOXHead"))
