# How long before the window's end each pixel fired last: two channels.
# The data need it too: python tools/preprocess.py IN OUT --representation TimeSurface --downsample sum
_base_ = "./baseline.py"

representation = dict(_delete_=True, type="TimeSurface", edges="window", downsample="sum")
