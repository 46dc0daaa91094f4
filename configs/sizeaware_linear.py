# sizeaware.py with the weight falling in proportion to the area, down to 1 at medium_area.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(loss_bbox=dict(mode="linear")))
