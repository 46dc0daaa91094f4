# Half resolution by adding pixels: every event counts, while the reference keeps one pixel in four.
# The data must be preprocessed for it:
# python tools/preprocess.py IN OUT --downsample sum
_base_ = "./baseline.py"

representation = dict(_delete_=True, type="StackedHistogram", bins=10, downsample="sum")
