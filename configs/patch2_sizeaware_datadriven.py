# patch2_sizeaware.py with thresholds and weight from the training boxes of data/etram_raw, here the
# simulated sample. For your own data make them again and name FRAGMENT below:
# python tools/inspect_data.py CONFIG --thresholds --fragment FRAGMENT
_base_ = ["./patch2.py", "./_base_/models/size_thresholds_sample.py"]

model = dict(bbox_head=dict(loss_bbox=dict(type="SizeAwareIoULoss", **_base_.size_thresholds)))
