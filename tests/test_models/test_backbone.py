"""MaxViTRNN: state, schedule, strides."""

from __future__ import annotations

import pytest
import torch

from etram_mmdet.models import MaxViTRNN
from etram_mmdet.models.detectors.stream_state import StreamState
from etram_mmdet.utils.errors import InputError

SMALL = dict(
    in_channels=4,
    embed_dims=8,
    head_dim=8,
    patch_size=2,
    partition_size=(2, 3),
    out_stages=(1, 2, 3),
)


def small(**kwargs):
    torch.manual_seed(0)
    backbone = MaxViTRNN(**(SMALL | kwargs))
    for name, parameter in backbone.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(
                parameter, 0.5, 1.0
            )  # else attention is almost switched off at the start
    return backbone


def clip(steps=10, lanes=2):
    return torch.rand(steps, lanes, 4, 16, 24, generator=torch.Generator().manual_seed(1)) * 5


@pytest.mark.parametrize("dws_conv", [False, True])
@torch.no_grad()
def test_split_in_time(dws_conv):
    backbone, x = small(dws_conv=dws_conv), clip()
    whole, end = backbone(x)
    first, states = backbone(x[:4])
    second, states = backbone(x[4:], states)
    for all_steps, one, two in zip(whole, first, second, strict=True):
        torch.testing.assert_close(all_steps, torch.cat([one, two]), rtol=0, atol=1e-6)
    for a, b in zip(end, states, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@torch.no_grad()
def test_state_matters_and_lanes_are_apart():
    backbone, x = small(), clip()
    with_past = backbone(x[4:], backbone(x[:4])[1])[0][0]
    without = backbone(x[4:])[0][0]
    assert (with_past - without).abs().max() > 1e-3
    changed = x.clone()
    changed[:, 1] = 0
    one, other = backbone(x)[0][0], backbone(changed)[0][0]
    torch.testing.assert_close(one[:, 0], other[:, 0], rtol=0, atol=1e-6)
    assert (one[:, 1] - other[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("dws_conv", [False, True])
def test_dws_conv_moves_memory_in_space(dws_conv):
    """An event reaches the next pixel through the hidden state only with depthwise convolution."""
    from etram_mmdet.models.layers.conv_lstm import ConvLSTM

    torch.manual_seed(0)
    lstm = ConvLSTM(4, dws_conv)
    x = torch.zeros(2, 1, 4, 5, 5)
    x[0, 0, :, 2, 2] = 3.0
    difference = (lstm(x)[0] - lstm(torch.zeros_like(x))[0]).abs().sum(2)[1, 0]
    assert (difference[1, 2] > 1e-6) == dws_conv


@pytest.mark.parametrize(
    ("patch_size", "out_stages", "strides"),
    [
        (4, (2, 3, 4), (8, 16, 32)),
        (2, (1, 2, 3), (2, 4, 8)),
        (2, (2, 3, 4), (4, 8, 16)),
        (3, (1, 2), (3, 6)),
        (5, (1, 2), (5, 10)),
        (8, (1, 2), (8, 16)),
    ],
)
def test_strides_and_channels_follow(patch_size, out_stages, strides):
    backbone = small(patch_size=patch_size, out_stages=out_stages)
    assert backbone.out_strides == strides
    assert backbone.out_channels == tuple(8 * 2 ** (s - 1) for s in out_stages)
    assert len(backbone.stages) == max(out_stages)
    h, w = backbone.size_divisor
    features, _ = backbone(torch.zeros(1, 1, 4, h, w))
    for feature, channels, stride in zip(features, backbone.out_channels, strides, strict=True):
        assert feature.shape == (1, 1, channels, h // stride, w // stride)


@pytest.mark.parametrize("map_bytes", [1, 2**25])
def test_checkpointing_and_portions_keep_the_gradients(map_bytes, monkeypatch):
    grads = []
    for with_cp in (False, True):
        monkeypatch.setattr(
            "etram_mmdet.models.backbones.maxvit_rnn.CPU_MAP_BYTES", map_bytes if with_cp else 2**25
        )
        backbone = small(with_cp=with_cp, num_blocks=(1, 2, 1, 1))
        sum(f.square().mean() for f in backbone(clip(3))[0]).backward()
        grads.append([p.grad for p in backbone.parameters()])
    assert all(g is not None for g in grads[0])
    assert backbone.stages[0]._frames_at_once(clip(3)[0]) == max(
        1, map_bytes // (4 * 4 * 8 * 8 * 12)
    )
    for plain, recomputed in zip(*grads, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=1e-5, atol=1e-8)


def test_gradients_flow_through_time():
    backbone, x = small(), clip(4).requires_grad_()
    backbone(x)[0][0][-1].sum().backward()
    assert x.grad[0].abs().max() > 0


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        (dict(out_stages=(0, 1)), "numbers from 1 to 4"),
        (dict(out_stages=(2, 2)), "different numbers"),
        (dict(head_dim=3), "head_dim=3 does not divide"),
        (dict(patch_size=1), "patch_size=1, expected at least 2"),
        (dict(num_blocks=(1, 1)), "num_blocks has 2"),
    ],
)
def test_refuses_with_a_sentence(kwargs, says):
    with pytest.raises(InputError, match=says):
        small(**kwargs)


def test_names_sizes_that_do_not_divide():
    with pytest.raises(InputError, match=r"\(18, 24\).*multiples of \(16, 24\)"):
        small()(torch.zeros(1, 1, 4, 18, 24))


def test_state_bank_zeroes_rows_only():
    state, lanes = StreamState(), (0, 1)
    assert state.get(lanes, torch.tensor([True, False])) is None
    hidden = torch.ones(2, 3, 4, 5, requires_grad=True)
    state.put(lanes, ((hidden, hidden * 2),))
    ((h, c),) = state.get(lanes, torch.tensor([False, True]))
    assert (h[0] == 1).all() and (c[0] == 2).all() and not h[1].any() and not c[1].any()
    assert not h.requires_grad
    assert state.get(lanes, torch.tensor([True, True])) is None
    with pytest.raises(InputError, match=r"lanes \[0, 1, 2\] after a batch of lanes \[0, 1\]"):
        state.get((0, 1, 2), torch.tensor([True, False, False]))
    assert state.get((0, 1, 2), torch.tensor([True] * 3)) is None
    state.reset()
    assert state.get(lanes, torch.tensor([False, False])) is None


def test_state_bank_keeps_groups_of_lanes_apart():
    state, go_on = StreamState(), torch.tensor([False, False])
    for value, lanes in enumerate([(0, 1), (2, 3)]):
        state.put(lanes, ((torch.full((2, 3, 4, 5), float(value)),),))
    assert [state.get(lanes, go_on)[0][0].mean() for lanes in ((0, 1), (2, 3))] == [0, 1]
    state.put(
        (1, 2), ((torch.full((2, 3, 4, 5), 7.0),),)
    )  # another batch size: neither old group may go on
    assert state.get((1, 2), go_on)[0][0].mean() == 7 and list(state._groups) == [(1, 2)]


def lane_states(*values):
    """State of one stage, a row of one number for each lane."""
    return ((torch.cat([torch.full((1, 3, 4, 5), float(value)) for value in values]),),)


def test_state_bank_gives_and_takes_rows():
    """Rows also go into groups of another size; lanes of single clips need no row."""
    state, two = StreamState(), torch.tensor([False, False])
    state.put((0, 1), lane_states(10, 11))
    state.put((2, 7), lane_states(12, 17), alone=[7])
    rows = state.rows()
    assert {lane: float(stage[0].mean()) for lane, (stage,) in rows.items()} == {
        0: 10,
        1: 11,
        2: 12,
    }
    for ((row,),) in rows.values():  # a file would hold all lanes with each row that is a view
        assert row.shape == (1, 3, 4, 5) and row.untyped_storage().nbytes() == 4 * row.numel()
    other = StreamState()
    other.put((5, 6), lane_states(0, 0))
    other.restore(rows, "cpu")
    ((joined,),) = other.get((2, 0), two)
    assert joined.mean(dim=(1, 2, 3)).tolist() == [12, 10]
    ((joined,),) = other.get((2, 9), torch.tensor([False, True]))
    assert joined.mean(dim=(1, 2, 3)).tolist() == [12, 0]
    with pytest.raises(InputError, match=r"lanes \[2, 9\] after a batch of lanes \[2\]"):
        other.get((2, 9), two)
    assert other.get((5, 6), two) is None and other.rows().keys() == {0, 1, 2}


def test_a_state_of_other_frames_is_named():
    backbone = small()
    frames = clip(1, 1)
    _, states = backbone(frames)
    with pytest.raises(
        InputError, match=r"state has shape \(1, 8, 8, 12\), expected \(1, 8, 8, 24\)"
    ):
        backbone(torch.cat([frames, frames], -1), states)
    with pytest.raises(InputError, match="a state of 1 stages, expected 3"):
        backbone(frames, states[:1])
    half = tuple((hidden.half(), cell) for hidden, cell in states)  # what a GPU leaves a processor
    assert backbone(frames, half)[0][0].dtype == torch.float32
