"""Clips of preprocessed event recordings."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from etram_mmdet.datasets.clips import (
    ClipRequest,
    Segment,
    Segments,
    evaluation_segment,
    single_clips,
    training_segments,
)
from etram_mmdet.datasets.dataset_checks import (
    boxes_forgotten,
    check_shapes,
    chosen_recordings,
    other_order,
    padding,
)
from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.datasets.frame_paths import frame_path, register_frames
from etram_mmdet.datasets.recording_frames import RecordingFrames
from etram_mmdet.datasets.sequence_folders import sequence_folders
from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.datasets.transforms.formatting import instances
from etram_mmdet.datasets.transforms.frame_transforms import build_pipeline
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.class_sets import (
    DEFAULT_CLASS_SET,
    chosen_classes,
    complete_metainfo,
    get_class_set,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.shared_arrays import is_sent_to_new_process, share


@DATASETS.register_module()
class ETraMDataset(BaseDataset):
    """All sequences of ``data_root/split`` in RVT's layout, served clip by clip.

    An index is a :class:`ClipRequest` or an integer. ``StreamBatchSampler`` makes requests, which
    ask for any clip of a stream. Integer k gives one clip that starts a stream and ends at labelled
    frame k, counted over all recordings in order of their names. Such a clip is augmented from
    numpy's global generator, as mmdet's images are. In ``test_mode`` only its last frame counts as
    labelled, so that every labelled frame is evaluated once. ``len``, ``get_data_info`` and
    ``get_cat_ids`` count labelled frames.

    mmengine's ``ConcatDataset``, ``RepeatDataset`` and ``ClassBalancedDataset`` may wrap it. Under
    a ``StreamBatchSampler`` they repeat whole recordings, under other samplers labelled frames.

    An item is the result of ``pipeline``. Its input is a dict of ``frames`` uint8 or int8 (T, C, H,
    W), ``bboxes``, ``labels`` and ``tracks`` (one array per frame, network pixels), ``frame_metas``
    (one dict per frame), ``clip_meta``, and ``rng``, a generator. Each transform has its own
    generator, which gives the same numbers again for every clip of one pass over a stream
    (:class:`OwnNumbers`). ``dataset`` and ``request`` serve transforms that copy something from
    other recordings.

    In ``test_mode`` the boxes that evaluation ignores are there too. ``is_ignored`` (one array per
    frame) marks them, and they leave the pipeline as ``ignored_instances``. Training never sees
    them.

    Args:
        data_root: folder that holds the folder ``split``.
        split: name of the folder of sequences, such as ``train``.
        pipeline: transforms of whole clips, or of mmdet (``build_pipeline``). Default: none.
        representation: representation whose tensors are read. Default: RVT's.
        window_us: length of a frame's window whose tensors are read, in microseconds. Default:
            50,000.
        clip_length: frames of a clip. Default: 5.
        class_set: meaning of the ids and names in the label files: name of a shipped set, path
            of a ``.json`` file, or a dict of ``classes``, ``mapping`` and ``leave_out``
            (:func:`get_class_set`). Default: ``etram8``.
        metainfo: dict of ``classes`` and ``palette``, as in MMDetection. ``classes`` choose
            classes of the set by name, in this order; boxes of the others are left out and
            counted. As many names as the set has, none of them its own, are new names for its
            classes. ``palette`` holds other colours. Default: the classes and colours of the
            set.
        test_mode: serve every recording whole instead of cut at gaps between labels. Default:
            no.
        lazy_init: read nothing before ``full_init`` is called; ``metainfo`` is known at once.
            Default: no.
        indices: recordings to use, among those with labels in the order of their names. A
            number: that many from the start, or from the end if negative. A list: their numbers,
            counted from 0. Default: all.

    Raises:
        InputError: for a folder without sequences, sequences of different shapes or unreadable
            ones, and for a pipeline that cannot work on clips.
    """

    METAINFO = complete_metainfo(get_class_set(DEFAULT_CLASS_SET), None)

    def __init__(
        self,
        data_root: str | None = None,
        split: str = "",
        pipeline: list[dict] = (),
        representation: dict | None = None,
        window_us: int = PreprocessSettings.window_us,
        clip_length: int = 5,
        class_set: str | dict = DEFAULT_CLASS_SET,
        metainfo: dict | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        if not data_root or not split:
            raise InputError(
                f"{type(self).__name__}: data_root={data_root!r}, split={split!r}; set data_root "
                "at the top of the config or, if it is None there, in every data set; split is "
                "train, val or test"
            )
        if clip_length < 1:
            raise InputError(
                f"{type(self).__name__}: clip_length={clip_length}, expected at least 1; set it to "
                "the number of frames in a clip, such as 5"
            )
        self.data_root = Path(data_root)
        self.folder = self.data_root / split
        self.split = split
        self.clip_length = clip_length
        self.representation = dict(representation or PreprocessSettings().representation)
        self.window_us = window_us
        self.test_mode = test_mode
        self.indices = indices
        self.class_set = class_set
        self.classes = chosen_classes(class_set, metainfo)
        self._metainfo = complete_metainfo(self.classes, metainfo)
        self._transforms = list(pipeline)
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Read the folder; a second call changes nothing."""
        if self._fully_initialized:
            return
        sequences = self.load_sequences(self.data_root, self.classes)
        labelled = [s for s in sequences if len(s.labelled)]
        self.sequences = chosen_recordings(labelled, self.indices, self.folder)
        self._tell_left_out()
        unlabelled = [s.name for s in sequences if not len(s.labelled)]
        if unlabelled:
            self._warn(f"recordings without labels are left out: {', '.join(unlabelled)}")
        check_shapes(self.sequences, self.folder)
        self._warn(None if self.test_mode else padding(self.sequences, self.clip_length))
        numbered = list(enumerate(self.sequences))
        self.segments = Segments.joined(self._segments(i) for i, _ in numbered)
        self.single_clips = Segments.joined(
            single_clips(i, s.labelled, self.clip_length) for i, s in numbered
        )
        self._path_folder = register_frames(self)
        first = self.sequences[0]
        self.pipeline = build_pipeline(self._transforms, (first.channels, *first.hw), first.dtype)
        self._count_frames()

    def _count_frames(self) -> None:
        self._first_item = np.cumsum([0, *(len(s.labelled) for s in self.sequences)])
        self._first_img_id = np.cumsum([0, *(s.num_frames for s in self.sequences)])
        self._fully_initialized = True

    def __getstate__(self) -> dict:
        """The data set as a spawned loading process gets it: without a copy of its arrays."""
        if is_sent_to_new_process() and self._fully_initialized:
            share(s.arrays for s in (*self.sequences, self.segments, self.single_clips))
        return self.__dict__

    def load_sequences(self, data_root: Path, classes: ClassSet) -> list[RecordingFrames]:
        return list(self._each_sequence(data_root, classes))

    def _each_sequence(self, data_root: Path, classes: ClassSet) -> Iterator[RecordingFrames]:
        folders = sequence_folders(data_root / self.split)
        for folder in folders:
            yield FolderSequence(folder, self.representation, self.window_us, classes)
        if self.test_mode:
            self._warn(boxes_forgotten(folders))

    def frame_hw(self) -> tuple[int, int]:
        """Height and width of a frame, in network pixels.

        A data set with ``lazy_init`` reads its recordings up to the first with labels, and all of
        them if ``indices`` or a ``load_sequences`` of a subclass chooses some.
        """
        chooses = type(self).load_sequences is not ETraMDataset.load_sequences
        if not (self._fully_initialized or self.indices is not None or chooses):
            for sequence in self._each_sequence(self.data_root, self.classes):
                if len(sequence.labelled):
                    return sequence.hw
        self.full_init()
        return self.sequences[0].hw

    def read_frames(self, sequence: RecordingFrames, request: ClipRequest) -> np.ndarray:
        """The frames of a clip before padding: (n, C, H, W)."""
        return sequence.read(request.start, request.stop)

    def _segments(self, index: int) -> Segments:
        sequence = self.sequences[index]
        if self.test_mode:
            whole = evaluation_segment(
                index, sequence.labelled, sequence.num_frames, self.clip_length
            )
            return Segments.of([whole])
        return training_segments(index, sequence.labelled, self.clip_length)

    def _tell_left_out(self) -> None:
        if told := self.told_of_left_out():
            print_log(f"{self.folder}: {told}", "current")
        self._warn(other_order(self.classes, get_class_set(self.class_set)))

    def _warn(self, text: str | None) -> None:
        if text:
            print_log(f"{self.folder}: {text}", "current", logging.WARNING)

    def told_of_left_out(self) -> str:
        """Number of boxes per class that ``class_set`` or ``metainfo`` leaves out, as text.

        The text is empty when no box is left out.
        """
        counts = sum((sequence.left_out for sequence in self.sequences), Counter())
        listed = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
        return f"boxes of classes that are left out: {listed}" if counts else ""

    def __len__(self) -> int:
        """Number of labelled frames."""
        return int(self._first_item[-1])

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.folder}, {len(self.sequences)} recordings, {len(self)} "
            "labelled frames)"
        )

    def boxes_per_class(self, segment: Segment) -> np.ndarray:
        """Number of boxes per class (K,) on the labelled frames of a segment."""
        before, after = self.boxes_before(segment.recording, segment[1:])
        return after - before

    def boxes_before(self, recording: int, frames: Sequence[int]) -> np.ndarray:
        """Number of boxes per class on the labelled frames before each frame: int64 (n, K).

        Args:
            recording: number of the recording.
            frames: (n,) indices of its frames, from 0 to the number of frames.
        """
        return self.sequences[recording].boxes_before(frames)

    @property
    def box_counts(self) -> np.ndarray:
        """Number of boxes per class (K,) on labelled frames, counted when they were read."""
        return np.sum([sequence.box_counts for sequence in self.sequences], 0)

    def box_statistics(self) -> BoxStatistics:
        """Class and size of every box on a labelled frame, before augmentation."""
        arrays = [sequence.arrays for sequence in self.sequences]
        labels = np.concatenate([a["labels"] for a in arrays], dtype=np.int64)
        sizes_px = np.empty((len(labels), 2), np.float32)
        first = 0
        for corners in (a["bboxes"] for a in arrays):
            np.subtract(corners[:, 2:], corners[:, :2], out=sizes_px[first:][: len(corners)])
            first += len(corners)
        return BoxStatistics(tuple(self._metainfo["classes"]), labels, sizes_px)

    def get_data_info(self, idx: int) -> dict:
        """Facts and boxes of labelled frame ``idx`` before augmentation, under mmdet's names."""
        recording, frame = self.labelled_frame(idx)
        sequence = self.sequences[recording]
        return dict(
            sample_idx=idx,
            **self._frame_meta(sequence, recording, frame, is_padding=False),
            height=sequence.hw[0],
            width=sequence.hw[1],
            instances=instances(*sequence.boxes_of(frame))
            + self._ignored_instances(sequence, frame),
        )

    def _ignored_instances(self, sequence: RecordingFrames, frame: int) -> list[dict]:
        return instances(*sequence.ignored_of(frame), is_ignored=True) if self.test_mode else []

    def get_cat_ids(self, idx: int) -> list[int]:
        """Class of every box of labelled frame ``idx``."""
        recording, frame = self.labelled_frame(idx)
        return self.sequences[recording].boxes_of(frame)[1].tolist()

    def get_subset_(self, indices: list[int] | int) -> None:
        """Refuse: frames that are taken out of a recording are no stream."""
        raise InputError(
            f"{type(self).__name__}: frames taken out of a recording are no stream; choose whole "
            "recordings with the key indices, or put their folders into a folder of their own and "
            "name that as split"
        )

    def get_subset(self, indices: list[int] | int) -> ETraMDataset:
        """Refuse, as :meth:`get_subset_` does."""
        self.get_subset_(indices)

    def __getitem__(self, index: int | ClipRequest) -> dict:
        request = index if isinstance(index, ClipRequest) else self._clip_at(index)
        return self.load_clip(self.sequences[request.recording], request, self)

    def labelled_frame(self, idx: int) -> tuple[int, int]:
        """Recording and frame of labelled frame ``idx``; a negative ``idx`` counts from the end."""
        if not -len(self) <= idx < len(self):
            raise IndexError(f"{self}: no labelled frame {idx}")
        idx = idx % len(self)
        recording = int(np.searchsorted(self._first_item, idx, side="right")) - 1
        place = idx - self._first_item[recording]
        return recording, int(self.sequences[recording].labelled[place])

    def _clip_at(self, idx: int) -> ClipRequest:
        recording, frame = self.labelled_frame(idx)
        start = max(frame + 1 - self.clip_length, 0)
        seed = () if self.test_mode else (int(np.random.randint(2**31)),)
        return ClipRequest(recording, start, frame + 1, True, lane=0, seed=seed, streamed=False)

    def load_clip(
        self, sequence: RecordingFrames, request: ClipRequest, dataset: ETraMDataset
    ) -> dict:
        """Read one clip and send it through the pipeline.

        Args:
            sequence: recording to read from.
            request: the clip; its ``recording`` is the number of ``sequence`` in ``dataset``.
            dataset: this data set, or the :class:`CombinedStreams` that it is a part of.
        """
        indices = range(request.start, request.start + self.clip_length)
        # There is no frame -1, so padding has no boxes.
        labelled = [i if i < request.stop else -1 for i in indices]
        if self.test_mode and not request.streamed:
            labelled = [i if i == request.stop - 1 else -1 for i in indices]
        return self.pipeline(
            dict(
                frames=self._frames(sequence, request),
                **self._boxes(sequence, labelled),
                frame_metas=dataset.frame_metas(sequence, request, labelled),
                clip_meta=self._clip_meta(sequence, request),
                streamed=request.streamed,
                test_mode=self.test_mode,
                seeds=dict(rng=request.seed),
                dataset=dataset,
                request=request,
            )
        )

    def _boxes(self, sequence: RecordingFrames, frames: list[int]) -> dict[str, list[np.ndarray]]:
        """Lists with one array per frame; in ``test_mode`` ignored boxes follow the others."""
        bboxes, labels = map(list, zip(*map(sequence.boxes_of, frames), strict=True))
        lists = dict(bboxes=bboxes, labels=labels, tracks=[sequence.tracks_of(i) for i in frames])
        if not self.test_mode:
            return lists
        ignored, of_class = map(list, zip(*map(sequence.ignored_of, frames), strict=True))
        lists["is_ignored"] = [
            np.repeat([False, True], [len(a), len(b)]) for a, b in zip(bboxes, ignored, strict=True)
        ]
        untracked = [np.zeros(len(boxes), np.int64) for boxes in ignored]
        for name, more in (("bboxes", ignored), ("labels", of_class), ("tracks", untracked)):
            lists[name] = [np.concatenate(pair) for pair in zip(lists[name], more, strict=True)]
        return lists

    def _frames(self, sequence: RecordingFrames, request: ClipRequest) -> np.ndarray:
        """The frames of a clip, filled up with empty ones: (T, C, H, W)."""
        length = request.stop - request.start
        if length == self.clip_length:
            return self.read_frames(sequence, request)
        frames = np.zeros((self.clip_length, sequence.channels, *sequence.hw), sequence.dtype)
        if length > 0:
            frames[:length] = self.read_frames(sequence, request)
        return frames

    @staticmethod
    def _clip_meta(sequence: RecordingFrames, request: ClipRequest) -> dict:
        """Facts that all frames of a clip share, under mmdet's names for videos."""
        return dict(
            lane=request.lane,
            streamed=request.streamed,
            video_id=request.recording,
            video_length=sequence.num_frames,
        )

    def frame_metas(
        self, sequence: RecordingFrames, request: ClipRequest, labelled: list[int]
    ) -> list[dict]:
        """Facts of each frame of a clip: one dict per frame.

        Args:
            sequence: recording that the clip was read from.
            request: the clip.
            labelled: index of each frame of the clip, or -1 for a frame whose labels must not
                count.
        """
        metas = []
        is_labelled = sequence.is_labelled(labelled).tolist()
        for place, index in enumerate(range(request.start, request.start + len(labelled))):
            is_padding = index >= request.stop
            meta = self._frame_meta(sequence, request.recording, index, is_padding)
            meta["is_labelled"] = is_labelled[place]
            meta["is_first"] = request.is_first and place == 0
            metas.append(meta)
        return metas

    def _frame_meta(
        self, sequence: RecordingFrames, recording: int, index: int, is_padding: bool
    ) -> dict:
        """Facts of one frame; ``img_id`` counts the frames of all recordings in order."""
        t_us = -1 if is_padding else int(sequence.t_us[index])
        return dict(
            recording=sequence.name,
            t_us=t_us,
            start_us=sequence.start_us,
            is_padding=is_padding,
            scale=sequence.scale,
            step_us=sequence.step_us,
            img_id=-1 if is_padding else int(self._first_img_id[recording]) + index,
            img_path=frame_path(self._path_folder, sequence.name, t_us),
            frame_id=index,
            ori_shape=sequence.hw,
            img_shape=sequence.hw,
            scale_factor=(1.0, 1.0),
            flip=False,
            flip_direction=None,
        )
