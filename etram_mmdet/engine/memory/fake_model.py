"""A copy of a detector, and clips for it, that have shapes and no numbers.

PyTorch's fake tensors know shape, number format and device, and own no memory. A forward and a
backward pass on them run every operator and compute nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from etram_mmdet.testing import input_channels, random_samples
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.private_names import private

MODE = "torch._subclasses.fake_tensor.FakeTensorMode"
Like = Callable[[Tensor], Tensor]


def fake_maker() -> Like:
    """A function that returns a fake tensor of the shape, layout and format of another one.

    Fake and real tensors may meet in an operator. So everything that decides what is computed,
    such as which frames are labelled, stays real.

    Raises:
        InputError: this PyTorch has no fake tensors.
    """
    make_mode = private(MODE)
    if make_mode is None:
        raise InputError(
            f"memory cannot be predicted: PyTorch {torch.__version__} has no {MODE}; install "
            "torch==2.13.0, or measure on the GPU with tools/benchmark.py"
        )
    mode = make_mode(allow_non_fake_inputs=True)

    def like(tensor: Tensor) -> Tensor:
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)

    return like


def fake_copy(model: nn.Module, like: Like) -> nn.Module:
    """A copy of a model on the CPU whose parameters are fake.

    Buffers are copied: they are small, and some decide what is computed.

    Args:
        model: a detector on any device.
        like: from :func:`fake_maker`.
    """
    made: dict[int, object] = {id(x): x.detach().cpu().clone() for x in model.buffers()}
    made |= {id(p): nn.Parameter(like(p), p.requires_grad) for p in model.parameters()}
    fake_model = copy.deepcopy(model, made)  # takes what `made` holds instead of copying it
    fake_model.data_preprocessor.to("cpu")  # it remembers the device
    for state in getattr(fake_model, "stream_states", {}).values():
        state.reset()
    return fake_model


def fake_clips(
    model: nn.Module,
    like: Like,
    batch: int,
    clip_length: int,
    hw: tuple[int, int],
    label_every: int = 2,
) -> dict:
    """A batch as the data loader gives it, with fake frames and real random boxes.

    Args:
        model: detector; its weights decide the channels, its head the classes.
        like: from :func:`fake_maker`.
        batch: number of clips.
        clip_length: frames in a clip.
        hw: height and width of a frame, in pixels.
        label_every: every frame whose number this divides is labelled. Default: 2.
    """
    one = torch.empty(1, dtype=torch.uint8)
    shape = (clip_length, input_channels(model), *hw)
    frames = [like(one).new_empty(shape) for _ in range(batch)]
    samples = random_samples(
        model.bbox_head.num_classes, batch, clip_length, hw, label_every, torch.Generator()
    )
    return dict(inputs=frames, data_samples=samples)
