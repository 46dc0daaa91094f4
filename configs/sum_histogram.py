# Half resolution by adding up: every event counts, where the reference keeps one pixel in four.
# The data need it too: python tools/preprocess.py IN OUT --downsample sum
_base_ = "./baseline.py"

representation = dict(_delete_=True, type="StackedHistogram", bins=10, downsample="sum")
