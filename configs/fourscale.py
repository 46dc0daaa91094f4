# A fourth, finer level: stages 1-4, strides 4, 8, 16, 32.
_base_ = "./baseline.py"

model = dict(backbone=dict(out_stages=(1, 2, 3, 4)))
