"""Which clip goes into which row of which batch.

Row *b* of a batch is lane *b*, and a lane continues its recording where its last batch stopped. Three recordings A, B,
C of 2, 3 and 1 clips in two lanes (`*` marks ``is_first``):

    batch      0    1    2    3
    lane 0     A0*  A1   C0*  B0*   <- lane 0 was free first, so it took C; then the next pass begins: B, C, A
    lane 1     B0*  B1   B2   C0*

The sampler runs in the main process and ``DataLoader`` keeps the order of batches, so no worker owns any state.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from etram_mmdet.datasets.clips import ClipRequest, Segment
from etram_mmdet.events.errors import InputError


def num_clips(segment: Segment, clip_length: int) -> int:
    return math.ceil((segment.stop - segment.start) / clip_length)


def cut(segment: Segment, k: int, clip_length: int, **request) -> ClipRequest:
    """Clip ``k`` of a segment."""
    start = segment.start + k * clip_length
    stop = min(start + clip_length, segment.stop)
    return ClipRequest(segment.recording, start, stop, **request)


class Shuffled:
    """Endless shuffled passes over ``items``; any position can be asked for, none depends on another."""

    def __init__(self, items: list[Segment], seed: int) -> None:
        self.items, self.seed = items, seed
        self._pass = (-1, np.empty(0, int))

    def __getitem__(self, position: int) -> tuple[Segment, tuple[int, ...]]:
        """The item there, and a seed that no other position of any pass has."""
        number, offset = divmod(position, len(self.items))
        if self._pass[0] != number:
            self._pass = number, np.random.default_rng((self.seed, number)).permutation(len(self.items))
        index = int(self._pass[1][offset])
        return self.items[index], (self.seed, number, index)


class _Lanes:
    """Streams over ``lanes`` lanes: a free lane takes the next segment of the shuffled order."""

    def __init__(self, segments: list[Segment], clip_length: int, lanes: int, seed: int) -> None:
        self.order, self.clip_length = Shuffled(segments, seed), clip_length
        self.free_at = [(0, lane) for lane in range(lanes)]  # heap of (iteration, lane)
        self.current: list[tuple] = [()] * lanes  # segment, seed, iteration of its first clip
        self.taken = 0

    def at(self, iteration: int) -> list[ClipRequest]:
        """One clip per lane; iterations may be skipped but not repeated."""
        while self.free_at[0][0] <= iteration:
            start, lane = heapq.heappop(self.free_at)
            segment, seed = self.order[self.taken]
            self.taken += 1
            self.current[lane] = segment, seed, start
            heapq.heappush(self.free_at, (start + num_clips(segment, self.clip_length), lane))
        return [self._clip(lane, *current, iteration) for lane, current in enumerate(self.current)]

    def _clip(self, lane: int, segment: Segment, seed: tuple, start: int, iteration: int) -> ClipRequest:
        k = iteration - start
        return cut(segment, k, self.clip_length, is_first=k == 0, lane=lane, seed=seed)


@DATA_SAMPLERS.register_module()
class StreamBatchSampler(Sampler):
    """Endless training batches of clips.

    ``mode='stream'``: every row is a lane (see the module). ``'random'``: every row is a clip on its own, one pass
    shows every clip once. ``'mixed'``: the last ``random_share`` of the rows (rounded, at least one stream row) are
    random, the others lanes. Lanes and random rows are counted over all processes: W processes of batch size B see
    together what one process of batch size W * B sees.

    ``seek(n)`` starts at iteration n without reading what lies before.

    Raises:
        InputError: for an unknown mode, a mixed batch of fewer than two rows, a dataset without a clip.
    """

    def __init__(self, sampler: Sampler, batch_size: int, mode: str = "stream", random_share: float = 0.5) -> None:
        if batch_size < 1:
            raise InputError(f"StreamBatchSampler: batch_size={batch_size}, expected at least 1 (train_dataloader)")
        self.dataset, self.seed = sampler.dataset, sampler.seed or 0
        self.batch_size, self.mode = batch_size, mode
        self.rank, self.world_size = get_dist_info()
        self.random_rows = self._random_rows(random_share)
        if not self.dataset.segments:
            raise InputError(f"StreamBatchSampler: {self.dataset} holds no labelled frame to train on")
        self.first_iteration = 0

    def _random_rows(self, share: float) -> int:
        if self.mode == "mixed" and self.batch_size < 2:
            raise InputError("StreamBatchSampler: mode='mixed' needs a batch size of 2 or more; use 'stream'")
        rows = dict(stream=0, random=self.batch_size, mixed=min(round(self.batch_size * share), self.batch_size - 1))
        if self.mode not in rows:
            raise InputError(f"StreamBatchSampler: mode={self.mode!r}, expected one of {', '.join(rows)}")
        return rows[self.mode]

    def seek(self, iteration: int) -> None:
        """Make the next pass over this sampler start at ``iteration``."""
        self.first_iteration = iteration

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        stream_rows = self.batch_size - self.random_rows
        lanes = None
        if stream_rows:
            lanes = _Lanes(self.dataset.segments, self.dataset.clip_length, stream_rows * self.world_size, self.seed)
        clips = Shuffled(self.dataset.single_clips, self.seed) if self.random_rows else None
        iteration = self.first_iteration
        while True:
            streams = lanes.at(iteration)[self.rank * stream_rows :][:stream_rows] if lanes else []
            yield streams + [self._random(clips, iteration, row) for row in range(self.random_rows)]
            iteration += 1

    def _random(self, clips: Shuffled, iteration: int, row: int) -> ClipRequest:
        draw = self.rank * self.random_rows + row
        segment, seed = clips[iteration * self.random_rows * self.world_size + draw]
        lane = self.world_size * (self.batch_size - self.random_rows) + draw
        return ClipRequest(*segment, is_first=True, lane=lane, seed=seed, streamed=False)

    def __len__(self) -> int:
        """Batches in which the data are seen once."""
        if self.mode == "random":
            return math.ceil(len(self.dataset.single_clips) / (self.batch_size * self.world_size))
        clips = sum(num_clips(s, self.dataset.clip_length) for s in self.dataset.segments)
        return math.ceil(clips / ((self.batch_size - self.random_rows) * self.world_size))


@DATA_SAMPLERS.register_module()
class StreamEvalBatchSampler(Sampler):
    """One pass over every recording, each in one lane; lanes that end early are padded with empty clips.

    The longest recordings are placed first, so that lanes end at about the same time. Any number of recordings goes
    with any batch size and number of processes.
    """

    def __init__(self, sampler: Sampler, batch_size: int) -> None:
        if batch_size < 1:
            raise InputError(f"StreamEvalBatchSampler: batch_size={batch_size}, expected at least 1 (val_dataloader)")
        self.dataset, self.batch_size = sampler.dataset, batch_size
        self.rank, world_size = get_dist_info()
        self.lanes = self._place(batch_size * world_size)
        self.length = max(map(len, self.lanes))

    def _place(self, lanes: int) -> list[list[ClipRequest]]:
        length = self.dataset.clip_length
        placed: list[list[ClipRequest]] = [[] for _ in range(lanes)]
        for segment in sorted(self.dataset.segments, key=lambda s: (s.start - s.stop, s.recording)):
            lane = min(range(lanes), key=lambda i: (len(placed[i]), i))
            placed[lane] += [
                cut(segment, k, length, is_first=k == 0, lane=lane, seed=()) for k in range(num_clips(segment, length))
            ]
        return placed

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        first = self.rank * self.batch_size
        for i in range(self.length):
            rows = range(first, first + self.batch_size)
            yield [self.lanes[r][i] if i < len(self.lanes[r]) else self._padding(r) for r in rows]

    @staticmethod
    def _padding(lane: int) -> ClipRequest:
        return ClipRequest(0, 0, 0, is_first=True, lane=lane, seed=())

    def __len__(self) -> int:
        return self.length
