"""Score thresholds and NMS per class, for deployment.

AP is measured with all detections of at least a score of 0.001. A user of detections needs fewer
and more certain ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.nms import nms
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.errors import InputError

_MAX_SIDE_PX = 1e9  # a larger whole number may not fit into an array


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Score thresholds of K classes, if wanted by box size, and an NMS threshold of each class.

    Attributes:
        classes: names of the K classes.
        score_thr: (K, S) score thresholds, for each class and each of S ranges of the box's side.
        nms_iou: (K,) IoU thresholds of an additional NMS; 1 for no NMS.
        sides_px: (S - 1,) ascending borders between the ranges. A side is the square root of the
            box's area, in sensor pixels. Default: none, so S = 1.
    """

    classes: tuple[str, ...]
    score_thr: np.ndarray
    nms_iou: np.ndarray
    sides_px: tuple[float, ...] = ()

    @classmethod
    def common(cls, classes: Sequence[str], score_thr: float) -> OperatingPoints:
        """Create operating points with one threshold for all classes and no NMS.

        Args:
            classes: names of the classes.
            score_thr: score threshold.
        """
        return cls(tuple(classes), np.full((len(classes), 1), score_thr), np.ones(len(classes)))

    @classmethod
    def from_config(cls, config: dict, classes: Sequence[str]) -> OperatingPoints:
        """Create operating points from a config.

        Args:
            config: ``test_cfg.operating_points`` of a model: ``score_thr`` by class, and possibly
                ``nms_iou`` by class and ``sides_px``.
            classes: names of the model's classes.

        Raises:
            InputError: the config has other keys, was made for other classes, or holds values out
                of range.
        """
        unknown = sorted(set(config) - {"score_thr", "nms_iou", "sides_px"})
        if unknown or "score_thr" not in config:
            raise InputError(
                f"operating_points: holds {', '.join(sorted(config)) or 'nothing'}; expected "
                "score_thr and possibly nms_iou and sides_px, as tools/tune_thresholds.py writes "
                "them"
            )
        sides_px = _borders(config.get("sides_px", ()))
        columns = [
            _by_class(config, "score_thr", classes),
            _by_class(config, "nms_iou", classes, default=1.0),
        ]
        try:
            rows = [
                np.broadcast_to(np.asarray(row, np.float64), len(sides_px) + 1)
                for row in columns[0]
            ]
            score_thr = np.stack(rows)
            nms_iou = np.array(columns[1], np.float64)
        except (ValueError, TypeError) as error:
            raise InputError(
                "operating_points.score_thr: expected one number per class, or "
                f"a list of {len(sides_px) + 1} per class for sides_px={list(sides_px)} "
                f"({error}); make the file again with tools/tune_thresholds.py"
            ) from error
        for name, values in (("score_thr", score_thr), ("nms_iou", nms_iou)):
            if not ((values >= 0) & (values <= 1)).all():
                raise InputError(
                    f"operating_points.{name}: {values.tolist()}, expected numbers from 0 to 1"
                )
        return cls(tuple(classes), score_thr, nms_iou, sides_px)

    def as_config(self) -> dict:
        """Convert to plain values, as :meth:`from_config` reads them."""
        score_thr = {
            name: row.tolist() if self.sides_px else row.item()
            for name, row in zip(self.classes, self.score_thr, strict=True)
        }
        config = dict(score_thr=score_thr)
        if (self.nms_iou < 1).any():
            config["nms_iou"] = dict(zip(self.classes, self.nms_iou.tolist(), strict=True))
        return config | (dict(sides_px=list(self.sides_px)) if self.sides_px else {})

    @property
    def switched_off(self) -> list[str]:
        """Classes whose thresholds are all 1, so that only detections with score 1 pass."""
        return [
            name for name, row in zip(self.classes, self.score_thr, strict=True) if (row >= 1).all()
        ]

    def thresholds(self, boxes: Boxes | BoxColumns, scale: int | np.ndarray) -> np.ndarray:
        """Score that each of N detections must reach: (N,) float32.

        Args:
            boxes: detections of one frame, or of several as columns.
            scale: sensor pixels per pixel of the boxes, one number or (N,).
        """
        corners = boxes.bboxes_xyxy
        scale = np.asarray(scale, corners.dtype)
        width, height = (corners[:, 2:] - corners[:, :2]).clip(min=0).T * scale
        size = np.digitize(np.sqrt(width * height), self.sides_px)
        # float32 like the scores, so that a score of 0.7 passes a threshold of 0.7
        return self.score_thr[boxes.labels, size].astype(np.float32)

    def keep(self, boxes: Boxes, scale: int = 1) -> Boxes:
        """Select the detections that pass, best first.

        Args:
            boxes: detections.
            scale: sensor pixels per pixel of the boxes. Default: 1.
        """
        return boxes[self.rows(boxes, scale)]

    def rows(self, boxes: Boxes, scale: int = 1) -> np.ndarray:
        """Row numbers of the detections that pass, best first: (M,) int64.

        Args:
            boxes: detections.
            scale: sensor pixels per pixel of the boxes. Default: 1.
        """
        rows = np.flatnonzero(boxes.scores >= self.thresholds(boxes, scale))
        rows = rows[np.argsort(-boxes.scores[rows], kind="stable")]
        if (self.nms_iou >= 1).all():
            return rows
        return rows[
            nms(boxes.bboxes_xyxy[rows], boxes.labels[rows], self.nms_iou[boxes.labels[rows]])
        ]

    def apply(self, frame: FrameResult) -> FrameResult:
        """Copy a frame, with only those detections that pass.

        Args:
            frame: evaluated frame; its detections are in network pixels.
        """
        return frame._replace(found=self.keep(frame.found, frame.scale))


def _borders(sides_px: object) -> tuple[float, ...]:
    borders = tuple(sides_px) if isinstance(sides_px, list | tuple) else (None,)
    are_sides = all(isinstance(b, int | float) and 0 <= b < _MAX_SIDE_PX for b in borders)
    if not are_sides or list(borders) != sorted(set(borders)):
        raise InputError(
            f"operating_points.sides_px: {sides_px}, expected ascending sides in sensor pixels"
        )
    return borders


def _by_class(config: dict, key: str, classes: Sequence[str], default: float | None = None) -> list:
    given = config.get(key, dict.fromkeys(classes, default))
    if not isinstance(given, dict) or set(given) != set(classes):
        names = ", ".join(map(str, given)) if isinstance(given, dict) else repr(given)
        raise InputError(
            f"operating_points.{key} is for the classes {names}, but the model detects the classes "
            f"{', '.join(classes)}; tune operating points on predictions of this model: "
            "tools/tune_thresholds.py PREDICTIONS"
        )
    return [given[name] for name in classes]
