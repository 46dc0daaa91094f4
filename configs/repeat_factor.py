# sizeaware.py with rare classes more often: streams and clips that hold one are repeated (LVIS's
# repeat factors). A class is rare if less than a tenth of the streams, or of the clips, hold it.
_base_ = "./sizeaware.py"

train_dataloader = dict(
    batch_sampler=dict(
        stream_order=dict(type="RepeatFactorOrder", threshold=0.1),
        random_order=dict(type="RepeatFactorOrder", threshold=0.1),
    )
)
