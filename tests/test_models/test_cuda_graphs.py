"""A network through graphs gives the numbers of the network.

Without a GPU a stand-in repeats the captured function on the captured tensors, as a graph does.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from etram_mmdet.analysis.speed.model import build_model
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models.cuda_graphs import MOST_GRAPHS, GraphedNetwork
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import run
from tests.helpers.paths import ROOT

HW = (32, 96)
SMALL = {
    "model.backbone.partition_size": (1, 3),
    "model.backbone.embed_dims": 16,
    "model.backbone.head_dim": 16,
    "model.backbone.out_stages": (1, 2),
    "model.neck.out_channels": 32,
}


def built(**options):
    cfg = load_config(ROOT / "configs" / "patch2.py", SMALL | options)
    torch.manual_seed(0)
    return build_model(cfg, torch.device("cpu"))


@pytest.fixture(scope="module")
def model():
    return built()


def tensors(nested):
    if isinstance(nested, torch.Tensor):
        yield nested
        return
    for each in nested:
        yield from tensors(each)


class Captures:
    """Counts the captures; a replay writes into the outputs of the capture."""

    def __init__(self):
        self.number = 0

    def __call__(self, function):
        self.number += 1
        outputs = function()
        for each in tensors(outputs):
            each.fill_(float("nan"))  # a capture computes nothing

        def replay():
            for kept, new in zip(tensors(outputs), tensors(function()), strict=True):
                kept.copy_(new)

        return outputs, replay


def stream(streamer, batches):
    states = None
    found = []
    for index, batch in enumerate(batches):
        clips = random_clips(streamer.detector, batch, 1, HW, label_every=1, seed=index)["inputs"]
        if index and batch != batches[index - 1]:
            states = None
        maps, states = streamer.network(streamer.pad(torch.cat(clips)), states)
        found.append([each.clone() for each in tensors([maps, states])])
    return found, states


def test_maps_and_states_are_those_of_the_network(model):
    batches = [1, 1, 1, 2, 2, 1, 1]
    expected, _ = stream(Streamer(model), batches)
    graphed = Streamer(model)
    captures = Captures()
    graphed._fast_network = GraphedNetwork(graphed._network, captures)
    found, _ = stream(graphed, batches)
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert captures.number == 2  # one for each batch


def test_states_outlive_the_next_window(model):
    graphed = Streamer(model)
    graphed._fast_network = GraphedNetwork(graphed._network, Captures())
    _, states = stream(graphed, [1, 1])
    before = [each.clone() for each in tensors(states)]
    _, later = stream(graphed, [1, 1, 1])
    assert all(torch.equal(*each) for each in zip(before, tensors(states), strict=True))
    assert not all(torch.equal(*each) for each in zip(before, tensors(later), strict=True))


def test_the_oldest_graph_makes_room():
    captures = Captures()
    network = GraphedNetwork(lambda x, states: ([x + 1], states), captures)
    for size in [*range(1, MOST_GRAPHS + 2), MOST_GRAPHS + 1, 1]:
        (one,), _ = network(torch.zeros(size), ())
        assert torch.equal(one, torch.ones(size))
    assert captures.number == MOST_GRAPHS + 2


class OnSecondGpu(torch.Tensor):
    """Lies in the memory of the processor and says that it lies on the second GPU."""

    is_cuda = True
    device = torch.device("cuda", 1)


def test_captures_and_replays_happen_on_the_gpu_of_the_network(monkeypatch):
    current = [0]  # the last one is the current GPU
    used = []

    @contextmanager
    def device(index):
        current.append(current[-1] if index < 0 else index)
        yield
        current.pop()

    class Noting(Captures):
        def __call__(self, function):
            used.append(("capture", current[-1]))
            outputs, replay = super().__call__(function)

            def noted():
                used.append(("replay", current[-1]))
                replay()

            return outputs, noted

    monkeypatch.setattr(torch.cuda, "device", device)
    network = GraphedNetwork(lambda x, states: ([x + 1], states), Noting())
    for kind, index in ((OnSecondGpu, 1), (torch.Tensor, 0)):
        used.clear()
        for _ in range(2):
            network(torch.zeros(index + 1).as_subclass(kind), ())
        assert used == [("capture", index), ("replay", index), ("replay", index)]
        assert current == [0]


def test_a_cpu_refuses_graphs_in_a_sentence(model):
    with pytest.raises(InputError, match=r"need a GPU, and the model is on cpu; leave out cuda_gr"):
        Streamer(model, cuda_graphs=True)
    words = [f"{key}={value}".replace(" ", "") for key, value in SMALL.items()]
    command = ["tools/benchmark.py", "configs/patch2.py", "--cuda-graphs", "--device", "cpu"]
    output = run(*command, "--frame", *HW, "--cfg-options", *words, ok=False)
    assert output.startswith("error: CUDA graphs need a GPU") and output.count("\n") == 1


def test_channels_last_is_a_layout_only(model):
    plain = built(**{"model.channels_last": False})
    (last, _), (first, _) = stream(Streamer(model), [1, 1, 1]), stream(Streamer(plain), [1, 1, 1])
    for ours, theirs in zip(last[-1], first[-1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    kernels = [m.bbox_head.multi_level_cls_convs[0][0].conv.weight for m in (model, plain)]
    assert [kernel.stride(1) == 1 for kernel in kernels] == [True, False]
