"""One step of a detector as a function of tensors: the graph that is exported."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from etram_mmdet.models.dense_heads.rvt_yolox_head import Decoded
from etram_mmdet.utils.errors import InputError


class Step(nn.Module):
    """Frames and the state before them -> boxes, objectness, class scores and the state after them.

    Args:
        detector: a fused copy of a :class:`RecurrentDetector`, see :func:`fused`.
        dtype: number format of the network.

    Raises:
        InputError: the head decodes no boxes of its own (:meth:`RVTYOLOXHead.decoded_features`).
    """

    def __init__(self, detector: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        head = detector.bbox_head
        if not hasattr(head, "decoded_features"):
            raise InputError(
                f"{type(head).__name__} cannot be exported: only RVTYOLOXHead and its variants "
                "return boxes, objectness and class scores apart from NMS; train with one of these "
                "or run the checkpoint itself"
            )
        self.detector = detector
        self.dtype = dtype

    def forward(self, frames: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """Run one step.

        Args:
            frames: (B, C, H, W) frames of the representation, not padded.
            rows: hidden and cell (B, C_i, H_i, W_i) of each stage.

        Returns:
            Boxes (B, P, 4) in pixels of the frame, objectness (B, P), class scores (B, P, K), and
            the next ``rows``.
        """
        down, right = (
            -size % divisor
            for size, divisor in zip(
                frames.shape[-2:],
                self.detector.data_preprocessor.size_divisor or (1, 1),
                strict=True,
            )
        )
        # bytes are padded, not floats: a quarter of the memory to copy
        padded = F.pad(frames, (0, right, 0, down)).to(self.dtype)[None]
        states = tuple(zip(rows[::2], rows[1::2], strict=True))
        features, states = self.detector.clip_features(padded, None, states or None)
        if self.detector.with_neck:
            features = self.detector.neck(features)
        found = self.detector.bbox_head.decoded_features(features)
        return *Decoded(*found), *(tensor for state in states for tensor in state)

    @torch.no_grad()
    def first_states(self, frames: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """States of zeros for streams of such frames: (hidden, cell) of each stage."""
        padded = self.detector.data_preprocessor.pad(frames[None], self.dtype)
        _, states = self.detector.clip_features(padded, None, None)
        return tuple(
            tuple(torch.zeros_like(t, memory_format=torch.contiguous_format) for t in state)
            for state in states
        )
