"""Training over endless streams."""

from __future__ import annotations

from mmdet.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader


class _StreamIterator:
    """Batches of an endless loader; a position is reached by asking the sampler, not by loading what lies before."""

    def __init__(self, dataloader: DataLoader) -> None:
        self.dataloader, self._batches = dataloader, None

    def __next__(self) -> dict:
        if self._batches is None:
            self._batches = iter(self.dataloader)
        return next(self._batches)

    def skip_iter(self, iterations: int) -> None:
        self.dataloader.batch_sampler.seek(iterations)
        self._batches = None


@LOOPS.register_module()
class StreamTrainLoop(IterBasedTrainLoop):
    """Iteration-based training whose resumption costs nothing, whatever the iteration."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = _StreamIterator(self.dataloader)
