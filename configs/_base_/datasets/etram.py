# Every data set takes these four from here; what a child config writes here reaches all of them.
# Preprocessed recordings in RVT's layout: data_root/{train,val,test}/SEQUENCE (tools/preprocess.py writes it).
data_root = "data/etram_cls8_sample/"
# What the ids in the label files mean: etram8, etram3, gen1, ... or classes of your own (docs/classes.md); the model's
# num_classes follows from it.
class_set = "etram8"
# What one frame holds; the model's in_channels follow from it.
representation = dict(type="StackedHistogram", bins=10, downsample="nearest")
window_us = 50_000

train_dataloader = dict(
    batch_size=6,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    # stream: every row continues its recording; random: single clips; mixed: half of each, RVT's choice
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
