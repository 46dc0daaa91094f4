# sizeaware.py with equalization loss v2: rare classes are spared the gradients of frequent ones.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(loss_cls=dict(type="EQLV2ClassLoss")))
