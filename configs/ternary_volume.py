# Last polarity per pixel in five time bins (ReYOLOv8's input): a quarter of the channels.
# The data need it too: python tools/preprocess.py IN OUT --representation TernaryVolume --downsample sum
_base_ = "./baseline.py"

representation = dict(_delete_=True, type="TernaryVolume", bins=5, downsample="sum")
