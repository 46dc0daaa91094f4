# All data sets take these four settings from here, so a child config changes them in one place.
# data_root: preprocessed recordings in RVT's layout, {train,val,test}/SEQUENCE, as
# tools/preprocess.py writes them.
data_root = "data/etram_cls8_sample/"
# Meaning of the ids in the label files: etram8, etram3, gen1, ... or classes of your own
# (docs/classes.md). The model's num_classes follows from it.
class_set = "etram8"
# Content of a frame. The model's in_channels follow from it.
representation = dict(type="StackedHistogram", bins=10, downsample="nearest")
window_us = 50_000

train_dataloader = dict(
    batch_size=6,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    # stream: every row continues its recording; random: single clips; mixed: half of each, as in
    # RVT
    batch_sampler=dict(type="StreamBatchSampler", mode="mixed"),
    dataset=dict(
        type="ETraMDataset",
        split="train",
        clip_length=5,  # frames through which gradients flow
        pipeline=[dict(type="ClipFlip"), dict(type="ClipZoom"), dict(type="PackClip")],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    batch_sampler=dict(type="StreamEvalBatchSampler"),
    dataset=dict(
        type="ETraMDataset",
        split="val",
        clip_length=5,
        pipeline=[dict(type="PackClip")],
        test_mode=True,
    ),
)
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader["dataset"], split="test"))
val_evaluator = dict(type="EventCocoMetric")
test_evaluator = dict(type="EventCocoMetric")
