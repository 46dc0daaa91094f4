# Wasserstein distance in addition to IoU, in the box loss and in the assignment cost.
# Its constant is the mean size of the training boxes.
_base_ = "./baseline.py"

model = dict(
    bbox_head=dict(loss_bbox=dict(type="NWDLoss")),
    train_cfg=dict(assigner=dict(type="NWDSimOTAAssigner")),
)
