"""Paste road users of other recordings into a clip, with their own motion.

This adds road users of rare classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from etram_mmdet.datasets.clips import ClipRequest
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.recording_frames import RecordingFrames
from etram_mmdet.datasets.transforms.geometry import PER_BOX, cut_to_frame
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.random_numbers import generator

# In frames, half a second. Over a longer gap a straight line between two labels misses the object.
_LONGEST_GAP = 10
# As a share of the smaller box, since the IoU of a pedestrian in front of a bus is almost 0.
_MAX_OVERLAP = 0.1
# Label files hold 32 bits, so none of their tracks has this id or a higher one.
_FIRST_TRACK = 1 << 32


class Tubelet(NamedTuple):
    """The path of one road user through a recording.

    Args:
        recording: number of the recording in its data set.
        label: class of the road user.
        frames: (n,) ascending indices of labelled frames, n >= 2.
        bboxes: (n, 4) boxes at these frames, in network pixels.
    """

    recording: int
    label: int
    frames: np.ndarray
    bboxes: np.ndarray

    def bbox_at(self, frame: int) -> np.ndarray:
        """Box (4,) at any frame from first to last, linear between labelled frames."""
        return np.array([np.interp(frame, self.frames, side) for side in self.bboxes.T], np.float32)


class Paste(NamedTuple):
    """One tubelet that is pasted into a recording.

    Args:
        tubelet: road user that is pasted.
        first: first frame of the tubelet's recording that is pasted.
        shift_px: shift to the right, in pixels.
        start: frame of the recipient at which the paste begins.
        track: track id of the pasted road user.
    """

    tubelet: Tubelet
    first: int
    shift_px: int
    start: int
    track: int


def find_tubelets(sequence: RecordingFrames, recording: int) -> list[Tubelet]:
    """Cut every track of a recording into runs of frames from which it can be copied alone.

    A run consists of labelled frames in a row. A frame at which the box overlaps another one ends a
    run, since the other road user would be copied along without a label. A frame at which the box
    touches the left or right edge ends a run too, since a part of the object is missing that should
    be seen elsewhere. A track that occurs twice in a frame gives no tubelet. Without track ids,
    which are then all 0, there is no tubelet.

    Args:
        sequence: recording to search.
        recording: number of that recording in its data set.
    """
    frames, bboxes, labels, tracks = sequence.all_boxes()
    if not tracks.any():
        return []
    pairs, count = np.unique(np.stack([tracks, frames], 1), axis=0, return_counts=True)
    # The loader cuts boxes to W - 1.
    is_whole = (bboxes[:, 0] > 0) & (bboxes[:, 2] < sequence.hw[1] - 1)
    usable = is_whole & ~np.isin(tracks, pairs[count > 1, 0]) & ~overlaps(frames, bboxes)
    rows = np.flatnonzero(usable)
    rows = rows[np.lexsort((frames[rows], labels[rows], tracks[rows]))]
    same = (np.diff(tracks[rows]) == 0) & (np.diff(labels[rows]) == 0)
    in_a_row = np.diff(np.searchsorted(sequence.labelled, frames[rows])) == 1
    near = np.diff(frames[rows]) <= _LONGEST_GAP
    runs = np.split(rows, np.flatnonzero(~(same & in_a_row & near)) + 1)
    return [
        Tubelet(recording, int(labels[run[0]]), frames[run], bboxes[run])
        for run in runs
        if len(run) > 1
    ]


def overlaps(frames: np.ndarray, bboxes: np.ndarray) -> np.ndarray:
    """Whether each box (n,) of a recording overlaps another box of the same frame.

    Args:
        frames: (n,) frame of each box, in ascending order.
        bboxes: (n, 4) boxes x1 y1 x2 y2.
    """
    found = np.zeros(len(frames), bool)
    step = 1
    area = (bboxes[:, 2:] - bboxes[:, :2]).prod(1)
    # Each box is compared with the next one, then with the one after it, and so on.
    while (pairs := np.flatnonzero(frames[step:] == frames[:-step])).size:
        a, b = bboxes[pairs], bboxes[pairs + step]
        sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
        shared = np.clip(sides, 0, None).prod(1)
        hit = pairs[shared > _MAX_OVERLAP * np.minimum(area[pairs], area[pairs + step])]
        found[hit] = found[hit + step] = True
        step += 1
    return found


def paste_pixels(frame: np.ndarray, donor: np.ndarray, bbox: np.ndarray, shift_px: int) -> None:
    """Copy the pixels of a box from one frame into another, in place.

    An object in front hides everything behind it, so a pixel of the donor with events replaces the
    value. Adding would be wrong for signed values and time surfaces.

    Args:
        frame: (C, H, W) frame that is written to.
        donor: (C, H, W) frame that is copied from.
        bbox: (4,) box x1 y1 x2 y2 in ``donor``.
        shift_px: shift to the right, in pixels.
    """
    width = frame.shape[-1]
    (x1, y1), (x2, y2) = np.floor(bbox[:2]).astype(int), np.ceil(bbox[2:]).astype(int)
    x1, x2 = np.clip((x1, x2), max(0, -shift_px), min(width, width - shift_px))
    pixels = donor[:, y1:y2, x1:x2]
    np.copyto(frame[:, y1:y2, x1 + shift_px : x2 + shift_px], pixels, where=pixels != 0)


@TRANSFORMS.register_module()
class ClipCopyPaste(BaseTransform):
    """Paste road users of other recordings, over frames in a row, with their boxes.

    It must be the first transform of a pipeline. Time is cut into windows of ``period_frames``
    frames of the recording. In each window, with probability ``prob``, one road user (a tubelet)
    from any recording of the data set is pasted, starting at the window's first frame. It keeps its
    rows, since the camera is static and a row means a distance, and is shifted sideways. The seed
    of the stream and the number of the window decide every draw, so that a paste continues from
    clip to clip without state.

    A row means the same distance only under cameras of the same height, tilt and lens. Sequence
    folders do not name the camera that recorded them, so donors are neither restricted to the same
    camera nor scaled. If cameras differ, a pasted road user may have a size that no road user has
    at that place; leave the transform out then.

    A class is drawn with weight 1 / sqrt(number of its tubelets), then one of its tubelets.

    Args:
        prob: probability of a paste in each window. Default: 0.5.
        period_frames: length of a window, in frames. Default: 20.
        classes: names of the classes to paste. Default: all.
        min_visible: share of a box's area that must stay in the frame, else the pasted road
            user gets no label. Default: 0.25.

    Raises:
        InputError: at first use, for an unknown class or when there is nothing to paste.
    """

    def __init__(
        self,
        prob: float = 0.5,
        period_frames: int = 20,
        classes: tuple[str, ...] | None = None,
        min_visible: float = 0.25,
    ) -> None:
        self.prob = prob
        self.period_frames = period_frames
        self.classes = classes
        self.min_visible = min_visible
        self._found: tuple[list[RecordingFrames], list[list[Tubelet]]] | None = None

    def transform(self, results: dict) -> dict:
        request = results["request"]
        period = self.period_frames
        by_class = self._tubelets(results["dataset"], results["frames"].shape[1:])
        seed = int(results["rng"].integers(2**63))
        for window in range(request.start // period, (request.stop - 1) // period + 1):
            paste = self._draw(by_class, seed, window, results["frames"].shape[-1])
            if paste is not None:
                results = self._add(results, paste)
        return results

    def _tubelets(self, dataset: ETraMDataset, shape: tuple[int, int, int]) -> list[list[Tubelet]]:
        """The tubelets of each class that has any; labels are searched once per process."""
        if self._found is None or self._found[0] is not dataset.sequences:
            self._found = dataset.sequences, self._search(dataset, shape)
        return self._found[1]

    def _search(self, dataset: ETraMDataset, shape: tuple[int, int, int]) -> list[list[Tubelet]]:
        names = list(dataset.metainfo["classes"])
        wanted = names if self.classes is None else self.classes
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise InputError(
                f"ClipCopyPaste: unknown classes {unknown}, expected some of {', '.join(names)}"
            )
        by_class: dict[int, list[Tubelet]] = {names.index(name): [] for name in wanted}
        for recording, sequence in enumerate(dataset.sequences):
            if (sequence.channels, *sequence.hw) == shape:
                for tubelet in find_tubelets(sequence, recording):
                    if tubelet.label in by_class:
                        by_class[tubelet.label].append(tubelet)
        if not any(by_class.values()):
            raise InputError(
                f"{dataset.folder}: nothing for ClipCopyPaste to paste, since no track_id in its "
                f"label files follows a {' or '.join(wanted)} over two labelled frames in a row; "
                "remove ClipCopyPaste from the pipeline"
            )
        return [tubelets for tubelets in by_class.values() if tubelets]

    def _draw(
        self, by_class: list[list[Tubelet]], seed: int, window: int, width: int
    ) -> Paste | None:
        rng = generator((seed,), window)
        if rng.random() >= self.prob:
            return None
        weights = np.array([len(tubelets) for tubelets in by_class]) ** -0.5
        tubelets = by_class[rng.choice(len(by_class), p=weights / weights.sum())]
        tubelet = tubelets[rng.integers(len(tubelets))]
        earliest, last = tubelet.frames[[0, -1]]
        first = int(
            rng.integers(earliest, max(earliest, last - self.period_frames + 1), endpoint=True)
        )
        x1, _, x2, _ = tubelet.bbox_at(first)
        shift_px = int(
            rng.integers(int(np.ceil(-x1)), int(np.floor(width - 1 - x2)), endpoint=True)
        )
        return Paste(tubelet, first, shift_px, window * self.period_frames, _FIRST_TRACK + window)

    def _add(self, results: dict, paste: Paste) -> dict:
        request = results["request"]
        tubelet = paste.tubelet
        ahead = paste.first - paste.start  # shift from recipient frames to donor frames
        start = max(request.start, paste.start)
        stop = min(
            request.stop, paste.start + self.period_frames, int(tubelet.frames[-1]) + 1 - ahead
        )
        if start >= stop:
            return results
        donor = _read_frames(
            results["dataset"], request, tubelet.recording, start + ahead, stop + ahead
        )
        lists = {name: list(results[name]) for name in PER_BOX if name in results}
        results = {**results, "frames": results["frames"].copy(), **lists}
        for index, pixels in enumerate(donor, start - request.start):
            bbox = tubelet.bbox_at(request.start + index + ahead)
            paste_pixels(results["frames"][index], pixels, bbox, paste.shift_px)
            if results["frame_metas"][index]["is_labelled"]:
                self._label(results, index, bbox, paste)
        return results

    def _label(self, results: dict, index: int, bbox: np.ndarray, paste: Paste) -> None:
        moved = bbox[None] + np.array([paste.shift_px, 0] * 2, np.float32)
        cut, keep = cut_to_frame(moved, results["frames"].shape[-2:], self.min_visible)
        new = dict(zip(PER_BOX, (cut, [paste.tubelet.label], [paste.track], [False]), strict=True))
        for name in (name for name in PER_BOX if name in results):
            before = results[name][index]
            results[name][index] = np.concatenate(
                [before, np.asarray(new[name], before.dtype)[keep]]
            )


def _read_frames(
    dataset: ETraMDataset, request: ClipRequest, recording: int, start: int, stop: int
) -> np.ndarray:
    """Frames as the dataset reads them for a clip.

    Events of donor and recipient are then augmented alike.
    """
    clip = request._replace(recording=recording, start=start, stop=stop)
    return dataset.read_frames(dataset.sequences[recording], clip)
