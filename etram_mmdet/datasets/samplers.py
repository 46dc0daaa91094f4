"""Samplers: they decide which clip goes into which row of which batch.

Row *b* of a batch is lane *b*, and a lane continues its recording where its last batch stopped.
Three recordings A, B, C of 2, 3 and 1 clips in two lanes (`*` marks ``is_first``):

    batch      0    1    2    3
    lane 0     A0*  A1   C0*  B0*
    lane 1     B0*  B1   B2   C0*

Lane 0 was free first, so it took C. Then the next pass begins: B, C, A.

The sampler runs in the main process and ``DataLoader`` keeps the order of batches, so no loading
process holds any state.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from etram_mmdet.datasets.clip_orders import ClipOrder, build_order
from etram_mmdet.datasets.clips import ClipRequest, Segment, Segments
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.random_numbers import derived_seed


def num_clips(segment: Segment, clip_length: int) -> int:
    """Number of clips in a segment; the last one may be shorter.

    Args:
        segment: frames of one stream.
        clip_length: frames of a clip.
    """
    return math.ceil((segment.stop - segment.start) / clip_length)


def cut(segment: Segment, k: int, clip_length: int, **request) -> ClipRequest:
    """Clip ``k`` of a segment.

    Args:
        segment: frames of one stream.
        k: number of the clip in the segment, counted from 0.
        clip_length: frames of a clip.
        **request: further fields of :class:`ClipRequest`.
    """
    start = segment.start + k * clip_length
    stop = min(start + clip_length, segment.stop)
    return ClipRequest(segment.recording, start, stop, **request)


def _clips_of(segments: Segments, clip_length: int) -> np.ndarray:
    """Number of clips in each segment, as :func:`num_clips` counts them."""
    rows = segments.rows
    return -(-(rows[:, 2] - rows[:, 1]) // clip_length)


class _Lanes:
    """Streams over ``lanes`` lanes: a free lane takes the next segment of the order."""

    def __init__(self, order: ClipOrder, clip_length: int, lanes: int) -> None:
        self.order = order
        self.clip_length = clip_length
        self.free_at = [(0, lane) for lane in range(lanes)]  # heap of (iteration, lane)
        self.current: list[tuple] = [()] * lanes  # segment, seed, iteration of its first clip
        self.taken = 0

    def at(self, iteration: int) -> list[ClipRequest]:
        """One clip per lane; ``iteration`` may skip numbers but never go back."""
        while self.free_at[0][0] <= iteration:
            start, lane = heapq.heappop(self.free_at)
            segment, seed = self.order[self.taken]
            self.taken += 1
            self.current[lane] = segment, seed, start
            heapq.heappush(self.free_at, (start + num_clips(segment, self.clip_length), lane))
        return [self._clip(lane, *current, iteration) for lane, current in enumerate(self.current)]

    def _clip(
        self, lane: int, segment: Segment, seed: tuple, start: int, iteration: int
    ) -> ClipRequest:
        k = iteration - start
        return cut(segment, k, self.clip_length, is_first=k == 0, lane=lane, seed=seed)


@DATA_SAMPLERS.register_module()
class StreamBatchSampler(Sampler):
    """Endless training batches of clips.

    Lanes and random rows are counted over all processes: W processes of batch size B together get
    the clips that one process of batch size W * B gets. ``seek(n)`` starts at iteration n without
    reading anything before it.

    Args:
        sampler: sampler whose data set and seed are used; its order of items is not used.
        batch_size: rows of a batch in one process.
        mode: ``stream``: every row is a lane, as the module's docstring shows. ``random``:
            every row is a clip on its own, and one pass shows every clip once. ``mixed``: the
            last rows are random, the others lanes. Default: ``stream``.
        random_share: share of random rows with ``mode='mixed'``, rounded; at least one row
            stays a lane. Default: 0.5.
        stream_order: order in which lanes take streams, as ``dict(type=...)`` of a
            ``ClipOrder``. Default: shuffled passes.
        random_order: order in which random rows take clips, likewise. Default: shuffled passes.

    Raises:
        InputError: for an unknown mode, a mixed batch of fewer than two rows, a dataset without
            a clip, and an order of rows that no batch has.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        mode: str = "stream",
        random_share: float = 0.5,
        stream_order: dict | None = None,
        random_order: dict | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(
                f"StreamBatchSampler: batch_size={batch_size}, expected at least 1 "
                "(train_dataloader)"
            )
        self.dataset = as_streams(sampler.dataset)
        self.seed = sampler.seed or 0
        self.batch_size = batch_size
        self.mode = mode
        self.rank, self.world_size = get_dist_info()
        self.random_rows = self._random_rows(random_share)
        self.stream_rows = batch_size - self.random_rows
        if not self.dataset.segments:
            raise InputError(
                f"StreamBatchSampler: {self.dataset} holds no labelled frame to train on"
            )
        self.streams = self._order("stream", stream_order, self.stream_rows, self.dataset.segments)
        self.clips = self._order(
            "random", random_order, self.random_rows, self.dataset.single_clips
        )
        self.first_iteration = 0

    def _random_rows(self, share: float) -> int:
        if self.mode == "mixed" and self.batch_size < 2:
            raise InputError(
                "StreamBatchSampler: mode='mixed' needs a batch size of 2 or more; use 'stream'"
            )
        rows = dict(
            stream=0,
            random=self.batch_size,
            mixed=min(round(self.batch_size * share), self.batch_size - 1),
        )
        if self.mode not in rows:
            raise InputError(
                f"StreamBatchSampler: mode={self.mode!r}, expected one of {', '.join(rows)}"
            )
        return rows[self.mode]

    def _order(
        self, kind: str, order: dict | None, rows: int, items: Sequence[Segment]
    ) -> ClipOrder | None:
        if order is not None and not rows:
            raise InputError(
                f"StreamBatchSampler: {kind}_order={order} is set, but mode={self.mode!r} with "
                f"batch_size={self.batch_size} has no {kind} rows; leave {kind}_order out or "
                "choose another mode"
            )
        # Streams come in the same order as in earlier versions: a run resumed with a newer version
        # continues in the recordings that its recurrent states come from.
        seed = self.seed if kind == "stream" else derived_seed((self.seed,), kind)
        return build_order(order, items, seed, self.dataset) if rows else None

    def seek(self, iteration: int) -> None:
        """Make the next pass over this sampler start at ``iteration``."""
        self.first_iteration = iteration

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        lanes = None
        if self.stream_rows:
            lanes = _Lanes(
                self.streams, self.dataset.clip_length, self.stream_rows * self.world_size
            )
        iteration = self.first_iteration
        while True:
            streams = (
                lanes.at(iteration)[self.rank * self.stream_rows :][: self.stream_rows]
                if lanes
                else []
            )
            yield streams + [self._random(iteration, row) for row in range(self.random_rows)]
            iteration += 1

    def _random(self, iteration: int, row: int) -> ClipRequest:
        draw = self.rank * self.random_rows + row
        segment, seed = self.clips[iteration * self.random_rows * self.world_size + draw]
        lane = self.world_size * self.stream_rows + draw
        return ClipRequest(*segment, is_first=True, lane=lane, seed=seed, streamed=False)

    def __len__(self) -> int:
        """Number of batches in which shuffled passes show the data once.

        Other orders have the same length, so that all variants count epochs alike.
        """
        if self.mode == "random":
            return math.ceil(len(self.dataset.single_clips) / (self.batch_size * self.world_size))
        segments = Segments.of(self.dataset.segments)
        clips = int(_clips_of(segments, self.dataset.clip_length).sum())
        return math.ceil(clips / (self.stream_rows * self.world_size))


class _EvalLane:
    """Recordings one after another; a clip becomes an object when it is asked for."""

    def __init__(self, number: int, segments: Segments, clip_length: int) -> None:
        self.number = number
        self.segments = segments
        self.clip_length = clip_length
        # number of the first clip of each segment, and number of clips
        self._first = np.append(0, np.cumsum(_clips_of(segments, clip_length)))

    def __len__(self) -> int:
        return int(self._first[-1])

    def clip(self, i: int) -> ClipRequest:
        """Clip ``i`` of the lane, or an empty one behind its last."""
        if i >= len(self):
            return ClipRequest(0, 0, 0, is_first=True, lane=self.number, seed=())
        place = int(np.searchsorted(self._first, i, side="right")) - 1
        k = i - int(self._first[place])
        segment = self.segments[place]
        return cut(segment, k, self.clip_length, is_first=k == 0, lane=self.number, seed=())


@DATA_SAMPLERS.register_module()
class StreamEvalBatchSampler(Sampler):
    """One pass over every recording, each in one lane; lanes that end early get empty clips.

    The longest recordings are placed first, so that lanes end at about the same time. Any number of
    recordings works with any batch size and number of processes.

    Args:
        sampler: sampler whose data set is used.
        batch_size: rows of a batch in one process.
    """

    def __init__(self, sampler: Sampler, batch_size: int) -> None:
        if batch_size < 1:
            raise InputError(
                f"StreamEvalBatchSampler: batch_size={batch_size}, expected at least 1 "
                "(val_dataloader)"
            )
        self.dataset = as_streams(sampler.dataset)
        self.batch_size = batch_size
        self.rank, world_size = get_dist_info()
        self.lanes = self._place(batch_size * world_size)
        self.length = max(map(len, self.lanes))

    def _place(self, lanes: int) -> list[_EvalLane]:
        length = self.dataset.clip_length
        rows = Segments.of(self.dataset.segments).rows
        rows = rows[np.lexsort((rows[:, 0], rows[:, 1] - rows[:, 2]))]
        lane_of = np.empty(len(rows), np.int64)
        free_at = [(0, lane) for lane in range(lanes)]  # heap of (clips so far, lane)
        for place, clips in enumerate(_clips_of(Segments(rows), length).tolist()):
            start, lane_of[place] = free_at[0]
            heapq.heapreplace(free_at, (start + clips, free_at[0][1]))
        return [_EvalLane(i, Segments(rows[lane_of == i]), length) for i in range(lanes)]

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        lanes = self.lanes[self.rank * self.batch_size :][: self.batch_size]
        for i in range(self.length):
            yield [lane.clip(i) for lane in lanes]

    def __len__(self) -> int:
        return self.length
