# The box loss counts small boxes up to twice.
_base_ = "./baseline.py"

model = dict(bbox_head=dict(loss_bbox=dict(type="SizeAwareIoULoss", size_weight=2.0)))
