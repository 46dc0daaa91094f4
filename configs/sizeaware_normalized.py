# sizeaware.py with weights whose mean is 1, so that the whole box loss, and with it the learning
# rate, keeps its scale.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(loss_bbox=dict(normalize=True)))
