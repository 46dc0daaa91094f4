"""Score thresholds and NMS per class, for deployment.

AP is measured with every detection from a score of 0.001 on; whoever acts on detections needs fewer and surer ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etram_mmdet.evaluation.nms import nms
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.errors import InputError

_MAX_SIDE_PX = 1e9  # beyond, a whole number may not fit into an array


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """``score_thr`` (K, S) per class and range of the box's side, ``nms_iou`` (K,), 1 to leave detections as they are.

    ``sides_px`` (S - 1,) are the borders between the ranges, square roots of areas in sensor pixels.
    """

    classes: tuple[str, ...]
    score_thr: np.ndarray
    nms_iou: np.ndarray
    sides_px: tuple[float, ...] = ()

    @classmethod
    def common(cls, classes: Sequence[str], score_thr: float) -> OperatingPoints:
        """One threshold for all."""
        return cls(tuple(classes), np.full((len(classes), 1), score_thr), np.ones(len(classes)))

    @classmethod
    def from_config(cls, config: dict, classes: Sequence[str]) -> OperatingPoints:
        """From ``test_cfg.operating_points``; raises ``InputError`` where it was made for other classes."""
        unknown = sorted(set(config) - {"score_thr", "nms_iou", "sides_px"})
        if unknown or "score_thr" not in config:
            raise InputError(
                f"operating_points: holds {', '.join(sorted(config)) or 'nothing'}; expected score_thr and possibly "
                "nms_iou and sides_px, as tools/tune_thresholds.py writes them"
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
                f"operating_points: score_thr has to hold a number per class, or {len(sides_px) + 1} of them for "
                f"sides_px={list(sides_px)} ({error}); make them anew with tools/tune_thresholds.py"
            ) from error
        for name, values in (("score_thr", score_thr), ("nms_iou", nms_iou)):
            if not ((values >= 0) & (values <= 1)).all():
                raise InputError(
                    f"operating_points.{name}: {values.tolist()}, expected numbers from 0 to 1"
                )
        return cls(tuple(classes), score_thr, nms_iou, sides_px)

    def as_config(self) -> dict:
        """What :meth:`from_config` takes."""
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
        """Classes whose every threshold is 1, which no detection passes but one of score 1."""
        return [
            name for name, row in zip(self.classes, self.score_thr, strict=True) if (row >= 1).all()
        ]

    def thresholds(self, boxes: Boxes, scale: int) -> np.ndarray:
        """The score that each of N detections must reach: (N,); boxes in network pixels."""
        width, height = (boxes.bboxes_xyxy[:, 2:] - boxes.bboxes_xyxy[:, :2]).clip(min=0).T * scale
        size = np.digitize(np.sqrt(width * height), self.sides_px)
        # float32 as the scores, so that a score of 0.7 passes a threshold of 0.7
        return self.score_thr[boxes.labels, size].astype(np.float32)

    def keep(self, boxes: Boxes, scale: int = 1) -> Boxes:
        """The detections that pass, best first; ``scale``: sensor pixels per pixel of the boxes."""
        return boxes[self.rows(boxes, scale)]

    def rows(self, boxes: Boxes, scale: int = 1) -> np.ndarray:
        """The numbers of the detections that pass, best first: (M,) int64; arguments as in :meth:`keep`."""
        rows = np.flatnonzero(boxes.scores >= self.thresholds(boxes, scale))
        rows = rows[np.argsort(-boxes.scores[rows], kind="stable")]
        if (self.nms_iou >= 1).all():
            return rows
        return rows[
            nms(boxes.bboxes_xyxy[rows], boxes.labels[rows], self.nms_iou[boxes.labels[rows]])
        ]

    def apply(self, frame: FrameResult) -> FrameResult:
        """The frame with those of its detections that pass."""
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
            f"operating_points.{key} is for the classes {names}, but the model tells {', '.join(classes)} apart; tune "
            "them on predictions of this model: tools/tune_thresholds.py PREDICTIONS"
        )
    return [given[name] for name in classes]
