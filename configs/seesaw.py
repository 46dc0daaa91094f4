# sizeaware.py with seesaw loss: a softmax over classes that weakens the frequent ones.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(loss_cls=dict(type="SeesawClassLoss")))
