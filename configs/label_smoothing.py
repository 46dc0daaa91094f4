# sizeaware.py with class targets softened by a tenth.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(loss_cls=dict(type="SmoothedClassLoss", smoothing=0.1)))
