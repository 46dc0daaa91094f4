# sizeaware.py with single clips drawn by their boxes; boxes of rare classes weigh more.
# power=1 is RVT's rule.
_base_ = "./sizeaware.py"

train_dataloader = dict(batch_sampler=dict(random_order=dict(type="ClassWeightedOrder", power=0.5)))
