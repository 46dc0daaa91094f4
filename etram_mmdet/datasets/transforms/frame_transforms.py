"""mmdet's transforms of images in a pipeline of clips.

They take one image with the keys ``img`` (H, W, C), ``gt_bboxes`` and ``gt_bboxes_labels``, and
draw from the global generators of numpy and Python. A clip has several frames, and all of them must
get the same draw.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import torch
from mmcv.transforms import BaseTransform, TransformBroadcaster
from mmdet.datasets.transforms import PackTrackInputs
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, get_box_tensor
from mmengine.dataset import Compose

from etram_mmdet.datasets.transforms.formatting import PackClip, for_metrics
from etram_mmdet.datasets.transforms.geometry import cut_to_frame, keep_boxes
from etram_mmdet.datasets.transforms.own_numbers import OwnNumbers
from etram_mmdet.utils.errors import InputError

# Keys of a frame's metainfo that a transform may change.
_CHANGED = ("img_shape", "scale_factor", "flip", "flip_direction")
# Keys that this package reads, besides those that mmdet's PackTrackInputs keeps by itself.
_OURS = (
    "recording",
    "t_us",
    "start_us",
    "step_us",
    "is_labelled",
    "is_first",
    "is_padding",
    "scale",
)
_LEVEL = 8  # any value that is neither 0 nor 1
_TRIES = 8  # draws of a random transform that are checked before a run


class FrameBoxes(HorizontalBoxes):
    """mmdet's boxes, but mirrored about the last pixel as in :func:`flip`.

    mmdet itself mirrors about W and H.
    """

    def flip_(self, img_shape: tuple[int, int], direction: str = "horizontal") -> None:
        height, width = img_shape
        super().flip_((height - 1, width - 1), direction)


@TRANSFORMS.register_module()
class FrameTransforms(BaseTransform):
    """Apply mmdet's transforms of images to all frames of a clip, with the same random numbers.

    The clip's seed decides the numbers, so they are the same along a stream. A transform may move
    pixels and boxes. It must not change values, since a pixel holds a count of events: resize with
    ``interpolation="nearest"``. It must need neither other images nor a file. ``check`` refuses all
    others before the first clip. A polarity is a channel, so mirroring leaves it alone.

    Args:
        transforms: transforms of mmdet or mmcv, such as ``[dict(type="RandomFlip",
            prob=0.5)]``.
        min_visible: share of a box's area that must stay in the frame, else the box is dropped.
            Default: 0.25.
    """

    def __init__(self, transforms: list[dict | Callable], min_visible: float = 0.25) -> None:
        self.transforms = Compose(transforms)
        self.min_visible = min_visible

    def transform(self, results: dict) -> dict:
        seed = int(results["rng"].integers(2**32))
        images = []
        for image in as_images(results):
            with seeded(seed):
                images.append(self.transforms(image))
        return self._from_images(results, images)

    def _from_images(self, results: dict, images: list[dict | None]) -> dict:
        self._check_alike(images)
        frames = np.stack([image["img"].transpose(2, 0, 1) for image in images])
        metas = [_updated(*pair) for pair in zip(results["frame_metas"], images, strict=True)]
        bboxes = [get_box_tensor(image["gt_bboxes"]).numpy() for image in images]
        tracks = [image["gt_instances_ids"] for image in images]
        if any(len(ids) != len(boxes) for ids, boxes in zip(tracks, bboxes, strict=True)):
            raise InputError(
                f"pipeline: {self.names} cannot work on clips: it removes boxes but keeps their "
                "track ids (gt_instances_ids); leave it out, boxes outside the frame are removed "
                "anyway"
            )
        changed = dict(
            frames=np.ascontiguousarray(frames).view(results["frames"].dtype),
            labels=[image["gt_bboxes_labels"] for image in images],
            tracks=tracks,
            frame_metas=metas,
        )
        if "is_ignored" in results:
            changed["is_ignored"] = [image["gt_ignore_flags"] for image in images]
        hw = frames.shape[-2:]
        cut, keep = zip(*(cut_to_frame(b, hw, self.min_visible) for b in bboxes), strict=True)
        return keep_boxes({**results, **changed, "bboxes": list(cut)}, keep)

    def _check_alike(self, images: list[dict | None]) -> None:
        shapes = {None if image is None else image["img"].shape for image in images}
        if len(shapes) > 1 or None in shapes:
            raise InputError(
                f"FrameTransforms: {self.names} gives the frames of one clip the shapes (H, W, C) "
                f"{shapes}, expected one shape for all; leave out transforms that depend on the "
                "boxes of an image or drop images"
            )

    @property
    def names(self) -> str:
        return ", ".join(type(transform).__name__ for transform in self.transforms.transforms)

    def check(self, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        """Try the transforms on made-up clips.

        Args:
            shape: (C, H, W) of a frame.
            dtype: type of a pixel.

        Raises:
            InputError: when a transform fails, changes values, or treats frames of a clip
                differently.
        """
        kept = 0
        shapes = set()
        for seed in range(_TRIES):
            try:
                results = self.transform(_made_up(shape, dtype, seed))
            except InputError:
                raise
            except Exception as error:  # a foreign transform may raise anything
                self._refuse(f"it stops with {type(error).__name__}: {error}", shape)
            changed = results["frames"]
            kept += len(results["bboxes"][0])
            shapes.add(changed.shape)
            if not np.isin(changed.view(np.uint8), (0, _LEVEL)).all():
                self._refuse(
                    "it changes the numbers of events in the pixels (set interpolation='nearest', "
                    "and fill with 0)",
                    shape,
                )
            if not np.array_equal(changed[0], changed[1]):
                self._refuse("it draws other random numbers for each frame of a clip", shape)
        if len(shapes) > 1:
            self._refuse(
                "it makes frames of several sizes, which do not fit into one batch (ClipZoom "
                "scales within the frame)",
                shape,
            )
        if not kept:
            self._refuse("it removes all boxes", shape)

    def _refuse(self, reason: str, shape: tuple[int, int, int]) -> None:
        raise InputError(
            f"pipeline: {self.names} cannot work on event frames of (C, H, W) {shape}: {reason}. "
            "Transforms of mmdet may only move pixels and boxes; ClipFlip, ClipZoom, ClipAffine, "
            "ClipCopyPaste and, as last of the pipeline, PackClip are made for clips"
        )


class TrackPacker:
    """mmdet's ``PackTrackInputs`` at the end of a pipeline of clips.

    It gets its lists with one entry per frame, and also keeps the keys of a frame that this package
    reads.

    Args:
        pack: transform whose ``meta_keys`` are extended, in place.
    """

    def __init__(self, pack: PackTrackInputs) -> None:
        self.pack = pack
        self.pack.meta_keys = tuple(dict.fromkeys((*pack.meta_keys, *_OURS)))

    def __call__(self, results: dict) -> dict:
        if results["test_mode"]:
            results = for_metrics(results)
        images = list(as_images(results))
        for image in images:
            image["gt_bboxes"] = image["gt_bboxes"].tensor
            image.setdefault("gt_ignore_flags", np.zeros(len(image["gt_bboxes"]), bool))
        packed = self.pack.transform({key: [image[key] for image in images] for key in images[0]})
        packed["data_samples"].set_metainfo(results["clip_meta"])
        packed["inputs"] = packed["inputs"].view(torch.from_numpy(results["frames"]).dtype)
        return packed


def build_pipeline(
    transforms: list[dict | Callable], shape: tuple[int, int, int], dtype: np.dtype
) -> OwnNumbers:
    """Build the transforms of clips; those of mmdet and mmcv are put into :class:`FrameTransforms`.

    A ``TransformBroadcaster`` becomes its contents, with the same random numbers for all frames,
    and ``PackTrackInputs`` a :class:`TrackPacker`.

    Args:
        transforms: configs of transforms, or built ones.
        shape: (C, H, W) of a frame.
        dtype: type of a pixel.

    Raises:
        InputError: as :meth:`FrameTransforms.check` does, for a ``TransformBroadcaster`` with a
            mapping, and for a packing transform that is not the last one.
    """
    built = [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms]
    for transform in built[:-1]:
        if isinstance(transform, PackClip | PackTrackInputs):
            name = type(transform).__name__
            raise InputError(
                f"pipeline: {name} has to be the last transform, since it packs the clip; move it "
                "to the end"
            )
    steps: list[Callable] = []
    for is_of_images, group in groupby(built, _is_of_images):
        found = list(group)
        steps += [FrameTransforms(_unwrapped(found))] if is_of_images else found
    steps = [TrackPacker(step) if isinstance(step, PackTrackInputs) else step for step in steps]
    for step in steps:
        if isinstance(step, FrameTransforms):
            step.check(shape, dtype)
    return OwnNumbers(steps)


def _is_of_images(transform: Callable) -> bool:
    is_foreign = type(transform).__module__.split(".")[0] in ("mmdet", "mmcv")
    return is_foreign and not isinstance(transform, PackTrackInputs)


def _unwrapped(transforms: list[Callable]) -> list[Callable]:
    found: list[Callable] = []
    for transform in transforms:
        if not isinstance(transform, TransformBroadcaster):
            found.append(transform)
            continue
        if transform.mapping or transform.remapping:
            raise InputError(
                "pipeline: TransformBroadcaster with mapping or remapping; leave them out, since "
                "its transforms get a clip's frames, boxes and labels under mmdet's names"
            )
        found += _unwrapped(transform.transforms.transforms)
    return found


def as_images(results: dict) -> Iterator[dict]:
    """Each frame of a clip as mmdet's transforms take an image; ``img`` is a view of uint8.

    Args:
        results: clip with ``frames``, ``bboxes``, ``labels``, ``tracks``, ``frame_metas`` and
            ``clip_meta``.
    """
    frames = results["frames"].view(np.uint8).transpose(0, 2, 3, 1)
    columns = (results[name] for name in ("bboxes", "labels", "tracks", "frame_metas"))
    ignored = (
        [dict(gt_ignore_flags=flags) for flags in results["is_ignored"]]
        if "is_ignored" in results
        else None
    )
    for index, (img, bboxes, labels, tracks, meta) in enumerate(zip(frames, *columns, strict=True)):
        yield dict(
            meta,
            **{key: results["clip_meta"][key] for key in ("video_id", "video_length")},
            img=img,
            gt_bboxes=FrameBoxes(torch.from_numpy(bboxes)),
            gt_bboxes_labels=labels,
            gt_instances_ids=tracks,
            **(ignored[index] if ignored else {}),
        )


def _updated(meta: dict, image: dict) -> dict:
    changed = {key: image[key] for key in _CHANGED}
    scale = meta["scale"] / image["scale_factor"][0]
    return meta | changed | dict(scale=int(scale) if scale.is_integer() else scale)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of numpy and Python for a block, and restore them afterwards.

    Args:
        seed: from 0 to 2**32 - 1.
    """
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _made_up(shape: tuple[int, int, int], dtype: np.dtype, seed: int) -> dict:
    """A clip of two equal frames, the first with a large box and one of a pixel."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 2, shape, np.uint8) * np.uint8(_LEVEL)
    hw = shape[1:]
    meta = dict(
        scale=1,
        img_shape=hw,
        ori_shape=hw,
        scale_factor=(1.0, 1.0),
        flip=False,
        flip_direction=None,
    )
    box = np.array([[0, 0, hw[1] / 2, hw[0] / 2], [0, 0, 1, 1]], np.float32)
    return dict(
        frames=np.stack([frame, frame]).view(dtype),
        bboxes=[box, box[:0]],
        labels=[np.zeros(n, np.int64) for n in (2, 0)],
        tracks=[np.zeros(n, np.int64) for n in (2, 0)],
        frame_metas=[meta, meta],
        clip_meta=dict(video_id=0, video_length=2),
        rng=rng,
    )
