"""Clips of preprocessed event recordings."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import Dataset

from etram_mmdet.datasets.clips import ClipRequest, Segment, evaluation_segment, single_clips, training_segments
from etram_mmdet.datasets.frame_paths import frame_path, register_frames
from etram_mmdet.datasets.recording_frames import FolderSequence, RecordingFrames
from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET, ClassSet, complete_metainfo, get_class_set
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.errors import InputError


@DATASETS.register_module()
class ETraMDataset(Dataset):
    """All sequences of ``data_root/split`` in RVT's layout, served clip by clip.

    An item is asked for with a :class:`ClipRequest`, which ``StreamBatchSampler`` makes, and is what ``pipeline``
    returns for a dict of ``frames`` uint8 or int8 (T, C, H, W), ``bboxes``, ``labels`` and ``tracks`` (one array per
    frame, network pixels), ``frame_metas`` (one dict per frame) and ``rng``, which is the same for all clips of a
    stream's pass. ``dataset`` and ``request`` are for transforms that take something from other recordings.

    ``representation`` and ``window_us`` say which of a folder's tensors to read (default: RVT's). ``class_set`` names
    what the ids in the label files mean; ``metainfo`` overrides its class names and palette. ``test_mode`` serves every
    recording whole instead of cut at gaps between labels.

    Raises:
        InputError: for a folder without sequences, sequences of different shapes, or unreadable ones.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        pipeline: list[dict],
        representation: dict | None = None,
        window_us: int = PreprocessSettings.window_us,
        clip_length: int = 5,
        class_set: str = DEFAULT_CLASS_SET,
        metainfo: dict | None = None,
        test_mode: bool = False,
    ) -> None:
        if clip_length < 1:
            raise InputError(f"{type(self).__name__}: clip_length={clip_length}, expected at least 1")
        self.folder, self.split, self.clip_length = Path(data_root) / split, split, clip_length
        self.representation, self.window_us = dict(representation or PreprocessSettings().representation), window_us
        self.class_set = class_set
        classes = get_class_set(class_set)
        self.metainfo = complete_metainfo(classes, metainfo)
        sequences = self.load_sequences(Path(data_root), classes)
        self.sequences = [s for s in sequences if len(s.labelled)]
        unlabelled = [s.name for s in sequences if not len(s.labelled)]
        if unlabelled:
            print_log(f"{self.folder}: left out without labels: {', '.join(unlabelled)}", "current", logging.WARNING)
        self._check_shapes()
        if not test_mode:
            self._warn_of_padding()
        self.segments = [segment for i, s in enumerate(self.sequences) for segment in self._segments(i, s, test_mode)]
        self.single_clips = [c for i, s in enumerate(self.sequences) for c in single_clips(i, s.labelled, clip_length)]
        self._path_folder = register_frames(self)
        self.pipeline = Compose([TRANSFORMS.build(transform) for transform in pipeline])

    def load_sequences(self, data_root: Path, classes: ClassSet) -> list[RecordingFrames]:
        folders = _sequence_folders(data_root / self.split)
        return [FolderSequence(folder, self.representation, self.window_us, classes) for folder in folders]

    def read_frames(self, sequence: RecordingFrames, request: ClipRequest) -> np.ndarray:
        """The frames of a clip before padding: (n, C, H, W)."""
        return sequence.read(request.start, request.stop)

    def _segments(self, index: int, sequence: RecordingFrames, test_mode: bool) -> list:
        if test_mode:
            return [evaluation_segment(index, sequence.labelled, sequence.num_frames, self.clip_length)]
        return training_segments(index, sequence.labelled, self.clip_length)

    def _check_shapes(self) -> None:
        if not self.sequences:
            raise InputError(f"{self.folder}: no sequence has a labelled frame; preprocess recordings with labels")
        shapes = {(s.channels, *s.hw): s.name for s in self.sequences}
        if len(shapes) > 1:
            listed = ", ".join(f"{shape} ({name})" for shape, name in shapes.items())
            raise InputError(f"{self.folder}: sequences differ in (channels, height, width): {listed}; separate them")

    def _warn_of_padding(self) -> None:
        longest = max(s.num_frames for s in self.sequences)
        if self.clip_length > longest:
            text = (
                f"{self.folder}: clip_length={self.clip_length}, but its longest recording has {longest} frames: every "
                f"clip is filled up with empty frames; --cfg-options train_dataloader.dataset.clip_length={longest}"
            )
            print_log(text, "current", logging.WARNING)

    def __len__(self) -> int:
        """Number of labelled frames."""
        return sum(len(s.labelled) for s in self.sequences)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.folder}, {len(self.sequences)} recordings, {len(self)} labelled frames)"

    def boxes_per_class(self, segment: Segment) -> np.ndarray:
        """Number of boxes per class (K,) on the labelled frames of a segment."""
        sequence = self.sequences[segment.recording]
        first, last = np.searchsorted(sequence.labelled, (segment.start, segment.stop))
        labels = [sequence.boxes_of(i)[1] for i in sequence.labelled[first:last]]
        return np.bincount(np.concatenate([np.empty(0, np.int64), *labels]), minlength=len(self.metainfo["classes"]))

    def box_statistics(self) -> BoxStatistics:
        boxes = [s.boxes_of(i) for s in self.sequences for i in s.labelled]
        bboxes, labels = map(np.concatenate, zip(*boxes, strict=True))
        return BoxStatistics(tuple(self.metainfo["classes"]), labels, bboxes[:, 2:] - bboxes[:, :2])

    def __getitem__(self, request: ClipRequest) -> dict:
        sequence = self.sequences[request.recording]
        frames = np.zeros((self.clip_length, sequence.channels, *sequence.hw), sequence.dtype)
        if request.stop > request.start:
            frames[: request.stop - request.start] = self.read_frames(sequence, request)
        indices = range(request.start, request.start + self.clip_length)
        labelled = [i if i < request.stop else -1 for i in indices]  # no frame -1: padding has no boxes
        bboxes, labels = zip(*map(sequence.boxes_of, labelled), strict=True)
        return self.pipeline(
            dict(
                frames=frames,
                bboxes=list(bboxes),
                labels=list(labels),
                tracks=[sequence.tracks_of(i) for i in labelled],
                frame_metas=[self._frame_meta(sequence, request, i) for i in indices],
                streamed=request.streamed,
                rng=np.random.default_rng(request.seed or 0),
                dataset=self,
                request=request,
            )
        )

    def _frame_meta(self, sequence: RecordingFrames, request: ClipRequest, index: int) -> dict:
        is_padding = index >= request.stop
        t_us = -1 if is_padding else int(sequence.t_us[index])
        return dict(
            recording=sequence.name,
            t_us=t_us,
            img_path=frame_path(self._path_folder, sequence.name, t_us),
            is_labelled=not is_padding and bool(np.isin(index, sequence.labelled)),
            is_first=request.is_first and index == request.start,
            is_padding=is_padding,
            lane=request.lane,
            streamed=request.streamed,
            img_shape=sequence.hw,
            scale=sequence.scale,
        )


def _sequence_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such data folder. Make a synthetic sample with `python tools/make_sample.py RAW`, or put "
            f"eTraM's recordings into RAW; then run `python tools/preprocess.py RAW {folder.parent}`"
        )
    # tools/preprocess.py builds a sequence under a name with a leading dot
    folders = sorted(f for f in folder.iterdir() if f.name[0] != "." and (f / "labels_v2").is_dir())
    if not folders:
        raise InputError(
            f"{folder}: holds no preprocessed sequence; run `python tools/preprocess.py RAW {folder.parent}` first"
        )
    return folders
