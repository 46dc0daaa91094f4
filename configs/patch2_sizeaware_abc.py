# patch2_sizeaware.py with the auxiliary balanced classifier of Lee, Shin, Kim (NeurIPS 2021).
_base_ = "./patch2_sizeaware.py"

model = dict(bbox_head=dict(type="ABCYOLOXHead"))
