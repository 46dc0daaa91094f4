# sizeaware.py with the class and objectness losses of small boxes weighted too.
_base_ = "./sizeaware.py"

model = dict(bbox_head=dict(type="SizeAwareYOLOXHead"))
