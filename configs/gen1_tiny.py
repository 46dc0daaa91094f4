# RVT-T.
_base_ = "./gen1.py"

model = dict(backbone=dict(embed_dims=32), neck=dict(num_csp_blocks=1))
