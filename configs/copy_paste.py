# sizeaware.py with road users of other recordings pasted into clips, rare classes more often.
_base_ = "./sizeaware.py"

train_dataloader = dict(
    dataset=dict(
        pipeline=[dict(type="ClipCopyPaste"), dict(type="ClipFlip"), dict(type="ClipZoom"), dict(type="PackClip")]
    ),
)
