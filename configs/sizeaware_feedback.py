# Sizes whose box loss lags behind count more, instead of small sizes by decree.
_base_ = "./baseline.py"

model = dict(bbox_head=dict(loss_bbox=dict(type="FeedbackIoULoss")))
