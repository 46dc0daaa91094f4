# Last polarity per pixel in five time bins (the input of ReYOLOv8): a quarter of the channels.
# The data must be preprocessed for it:
# python tools/preprocess.py IN OUT --representation TernaryVolume --downsample sum
_base_ = "./baseline.py"

representation = dict(_delete_=True, type="TernaryVolume", bins=5, downsample="sum")
