# sizeaware.py with road users of other recordings pasted into clips, rare classes more often.
# They come from any recording and are not scaled, so this is for recordings of one camera, or of
# cameras with similar height, tilt and lens.
_base_ = "./sizeaware.py"

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="ClipCopyPaste"),
            dict(type="ClipFlip"),
            dict(type="ClipZoom"),
            dict(type="PackClip"),
        ]
    ),
)
