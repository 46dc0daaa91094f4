# sizeaware.py with the weight falling in two steps, at small_area and medium_area.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(loss_bbox=dict(mode="step")))
