# sizeaware.py with strong geometry: clips are turned, moved, scaled and sheared as a whole.
_base_ = "./sizeaware.py"

train_dataloader = dict(
    dataset=dict(pipeline=[dict(type="ClipFlip"), dict(type="ClipAffine"), dict(type="PackClip")]),
)
