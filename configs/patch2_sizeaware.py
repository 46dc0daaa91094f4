# The experiment with which this project began: patch size 2, strides 2, 4, 8, size-aware loss,
# batch size 2, 100,000 steps.
_base_ = "./patch2.py"

model = dict(bbox_head=dict(loss_bbox=dict(type="SizeAwareIoULoss", size_weight=2.0)))
