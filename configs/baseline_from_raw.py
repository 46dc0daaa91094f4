# The baseline with frames made from recordings during training, without preprocessing. It reads
# data_root/{train,val,test}/NAME_td.raw (.h5, .dat, ...) and NAME_bbox.npy. Events can be augmented
# before they become frames.
_base_ = "./baseline.py"

data_root = "data/etram_raw/"
train_dataloader = dict(
    dataset=dict(
        type="RawEventDataset",
        event_pipeline=[
            dict(type="EventPolarityFlip", prob=0.5),
            dict(type="EventDrop", prob=0.3),
            dict(type="EventNoise", prob=0.3),
        ],
    )
)
val_dataloader = dict(dataset=dict(type="RawEventDataset"))
test_dataloader = dict(dataset=dict(type="RawEventDataset"))
