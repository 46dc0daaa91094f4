# RVT's other representation: signed counts since halving times, half the channels.
# The data must be preprocessed for it:
# python tools/preprocess.py IN OUT --representation MixedDensityEventStack
_base_ = "./baseline.py"

representation = dict(_delete_=True, type="MixedDensityEventStack", bins=10, downsample="nearest")
