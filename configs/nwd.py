# Wasserstein distance beside IoU, in the box loss and in the assignment cost; its constant is the mean training box.
_base_ = "./baseline.py"

model = dict(
    bbox_head=dict(loss_bbox=dict(type="NWDLoss")),
    train_cfg=dict(assigner=dict(type="NWDSimOTAAssigner")),
)
