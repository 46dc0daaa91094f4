# Patch size 2 with the first three stages: strides 2, 4, 8; the fourth stage is not built.
# Stages 1-3 have four times the tokens of the baseline, hence the smaller batch.
# patch2_stages234_sizeaware.py is the other reading of "patch 2".
_base_ = "./baseline.py"

model = dict(backbone=dict(patch_size=2, out_stages=(1, 2, 3)))
train_dataloader = dict(batch_size=2)
