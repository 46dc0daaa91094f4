# RVT-S.
_base_ = "./1mpx.py"

model = dict(backbone=dict(embed_dims=48, head_dim=24), neck=dict(num_csp_blocks=1))
