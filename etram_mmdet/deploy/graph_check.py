"""Check that a graph has the inputs and outputs that its description states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.deploy.description import Description
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import printable


class Tensor(NamedTuple):
    """An input or output of a graph.

    Attributes:
        names: its names; most programs give it one.
        shape: its sides; None for a side that is free or not known. Without a shape: None.
        dtype: number format, by NumPy's name.
    """

    names: tuple[str, ...]
    shape: tuple[int | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        sides = "?" if self.shape is None else ", ".join(str(side or "?") for side in self.shape)
        return printable(f"{self.names[0] if self.names else '?'} {self.dtype} ({sides})")


def check_graph(
    path: Path | str, description: Description, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """Refuse a graph that is not the one of its description.

    Args:
        path: the ONNX file, for the message.
        description: what was read from its metadata.
        inputs: inputs of the graph, in order.
        outputs: outputs of the graph, in order; sides that are not known match every number.

    Raises:
        InputError: a tensor is missing or unknown, or has another shape or number format.
    """
    told = _inputs(description), _outputs(description)
    for kind, expected, found in zip(("input", "output"), told, (inputs, outputs), strict=True):
        if len(expected) != len(found):
            raise _refusal(path, f"{len(found)} {kind}s, expected {len(expected)}")
        for theirs, ours in zip(expected, found, strict=True):
            if not _fits(theirs, ours, is_loose=kind == "output"):
                raise _refusal(path, f"the {kind} {ours}, expected {theirs}")


def _inputs(description: Description) -> list[Tensor]:
    batch = description.batch
    frames = Tensor(("frames",), (batch, *description.frame_shape), description.frame_dtype)
    return [frames, *_states(description, "")]


def _outputs(description: Description) -> list[Tensor]:
    batch = description.batch
    return [
        Tensor(("boxes",), (batch, None, 4), "float32"),
        Tensor(("objectness",), (batch, None), "float32"),
        Tensor(("class_scores",), (batch, None, len(description.classes)), "float32"),
        *_states(description, "next_"),
    ]


def _states(description: Description, prefix: str) -> list[Tensor]:
    return [
        Tensor((prefix + state.name,), (description.batch, *state.shape), state.dtype)
        for state in description.states
    ]


def _fits(expected: Tensor, found: Tensor, is_loose: bool) -> bool:
    if expected.names[0] not in found.names or expected.dtype != found.dtype:
        return False
    if found.shape is None:
        return is_loose
    if len(expected.shape) != len(found.shape):
        return False
    return all(
        one == other or (is_loose and None in (one, other))
        for one, other in zip(expected.shape, found.shape, strict=True)
    )


def _refusal(path: Path | str, problem: str) -> InputError:
    return InputError(
        f"{path}: its graph has {problem}, as its description states; the file is damaged or was "
        "changed: export the checkpoint again: tools/export.py CHECKPOINT OUT.onnx"
    )
