# Time from the last event of each pixel to the end of the window: two channels.
# The data must be preprocessed for it:
# python tools/preprocess.py IN OUT --representation TimeSurface --downsample sum
_base_ = "./baseline.py"

representation = dict(_delete_=True, type="TimeSurface", edges="window", downsample="sum")
