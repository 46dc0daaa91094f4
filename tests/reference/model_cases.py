"""Weights, frames and boxes of the small models that the reference was run with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.reference.formula import integers, steps

STEPS = 6  # frames in a row
BATCH = 2
SEEN_STEPS = (0, 2, 3, 5)  # whose maps have answers
TRAINED_STEPS = slice(3, 6)
MAP_COUNT = 96  # of elements and of sums that stand for a map, see thin()
HEAD_COUNT = 512
GRADIENT_COUNT = 6
HW = (128, 192)
PARTITION = (2, 3)
CHANNELS = (32, 64, 128, 256)  # of the stages of RVT tiny


@dataclass(frozen=True)
class ModelCase:
    name: str
    patch_size: int
    num_classes: int

    def stage_shapes(self) -> list[tuple[int, int, int, int]]:
        strides = [self.patch_size * 2**k for k in range(4)]
        return [(BATCH, c, HW[0] // s, HW[1] // s) for c, s in zip(CHANNELS, strides, strict=True)]

    def start_state(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Output and cell of every stage before the trained steps."""
        shapes = enumerate(self.stage_shapes())
        return [
            (steps(f"{self.name} h{k}", s, 0.5), steps(f"{self.name} c{k}", s, 1.0))
            for k, s in shapes
        ]

    def frames(self) -> np.ndarray:
        """uint8 (T, B, 20, H, W): every tenth cell holds a count from 1 to 6."""
        drawn = integers(f"{self.name} frames", (STEPS, BATCH, 20, *HW), 0, 60)
        return np.where(drawn < 6, drawn + 1, 0).astype(np.uint8)

    def labels_cxcywh(self) -> np.ndarray:
        """(B, 6, 5): class, centre and size of five boxes and of three, filled up with zeros."""
        name = f"{self.name} boxes"
        low = np.array([0, 8, 8, 16, 16])
        high = np.array([self.num_classes, HW[1] - 8, HW[0] - 8, 64, 64])
        labels = low + integers(name, (BATCH, 6, 5), 0, 2**16) * (high - low) // 2**16
        labels[0, 5:] = 0
        labels[1, 3:] = 0
        return labels.astype(np.float32)


MODEL_CASES = (ModelCase("patch4", 4, 3), ModelCase("patch2", 2, 8))


def is_first() -> np.ndarray:
    """bool (T, B): before which steps a lane's state is set to zero."""
    table = np.zeros((STEPS, BATCH), bool)
    table[0] = True
    table[2, 1] = True
    table[4, 0] = True
    return table


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor that RVT calls ``name``.

    Every number has an effect: no scale is 1 and no offset is 0.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (name.endswith(".weight") and len(shape) == 1):
        return 1 + steps(name, shape, 0.5)
    if name.endswith("gamma"):  # the scale of a residual branch
        return np.float32(0.75) + steps(name, shape, 0.25)
    if len(shape) == 1 and ("cls_preds" in name or "obj_preds" in name):  # logits of rare things
        return steps(name, shape, 0.5) - 2
    if len(shape) == 1:
        return steps(name, shape, 0.25)
    return steps(name, shape, _largest(int(np.prod(shape[1:]))))


def _largest(num_inputs: int) -> float:
    """A power of two near the root of 3 / inputs, with which outputs vary as much as inputs do."""
    return 0.5 ** ((num_inputs // 3).bit_length() // 2)
