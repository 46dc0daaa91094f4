# patch2_sizeaware.py at the baseline's batch size: inner maps are computed again in the backward
# pass instead of kept. If six lanes still do not fit into memory, model.micro_batch=2 trains them
# two at a time with the same gradient.
_base_ = "./patch2_sizeaware.py"

model = dict(backbone=dict(with_cp=True), with_cp=True)
train_dataloader = dict(batch_size=6)
