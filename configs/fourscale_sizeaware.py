# Four scales and the size-aware loss.
_base_ = "./fourscale.py"

model = dict(bbox_head=dict(loss_bbox=dict(type="SizeAwareIoULoss", size_weight=2.0)))
