from etram_mmdet.datasets.clips import ClipRequest, Segment
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.samplers import StreamBatchSampler, StreamEvalBatchSampler
from etram_mmdet.datasets.transforms import ClipFlip, ClipZoom, PackClip

__all__ = [
    "ClipFlip",
    "ClipRequest",
    "ClipZoom",
    "ETraMDataset",
    "PackClip",
    "Segment",
    "StreamBatchSampler",
    "StreamEvalBatchSampler",
]
