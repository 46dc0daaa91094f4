# sizeaware.py with weights whose mean is 1: the box loss as a whole, and with it the learning rate, stays as it was.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(loss_bbox=dict(normalize=True)))
