# Box sizes whose loss falls more slowly than that of others weigh more, instead of small sizes.
_base_ = "./baseline.py"

model = dict(bbox_head=dict(loss_bbox=dict(type="FeedbackIoULoss")))
