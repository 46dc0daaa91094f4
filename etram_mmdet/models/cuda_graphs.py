"""A network that is launched as one CUDA graph instead of kernel by kernel.

At batch 1 a GPU waits for the processor, which launches hundreds of small kernels a window. A graph
launches all of them at once. Unlike ``torch.compile`` it needs no compiler and no half minute.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

States = tuple[tuple[Tensor, ...], ...]
Network = Callable[[Tensor, States], tuple[tuple, States]]
# Runs a function so that the other function that it returns repeats it: it reads the same inputs
# again and writes into the same outputs, which are returned too.
Capture = Callable[[Callable[[], object]], tuple[object, Callable[[], None]]]
WARM_UP = 3  # calls in which libraries choose algorithms, as PyTorch's documentation asks for
MOST_GRAPHS = 8  # each one keeps the memory of a whole forward pass


def capture_cuda(function: Callable[[], object]) -> tuple[object, Callable[[], None]]:
    """Capture a function on the current GPU, which has to be that of its tensors.

    Args:
        function: computes on the GPU and never waits for it.

    Returns:
        Its outputs, and the function that computes them again from what its inputs hold then.
    """
    here = torch.cuda.current_stream()
    aside = torch.cuda.Stream()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            function()
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function()
    return outputs, graph.replay


class GraphedNetwork:
    """Calls a network through one graph for each shape of its input.

    The graph reads the weights where they lie: changes in place are seen, new tensors are not.

    Args:
        network: takes padded frames and states, and returns maps and states. It must not wait for
            the GPU.
        capture: makes the graphs. Default: :func:`capture_cuda`.
    """

    def __init__(self, network: Network, capture: Capture = capture_cuda) -> None:
        self._network = network
        self._capture = capture
        self._graphs: dict[tuple, _Graph] = {}

    def __call__(self, padded: Tensor, states: States) -> tuple[tuple, States]:
        """Maps, which the next call overwrites, and new states."""
        shapes = (padded.shape, *(rows.shape for state in states for rows in state))
        graph = self._graphs.get(shapes)
        if graph is None:
            if len(self._graphs) == MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            graph = self._graphs[shapes] = _Graph(self._network, self._capture, padded, states)
        return graph(padded, states)


class _Graph:
    """One graph, and the tensors that it reads and writes."""

    def __init__(self, network: Network, capture: Capture, padded: Tensor, states: States) -> None:
        self._padded = padded.clone()
        self._states = _copies(states)
        with _device_of(padded):
            self._outputs, self._replay = capture(lambda: network(self._padded, self._states))

    def __call__(self, padded: Tensor, states: States) -> tuple[tuple, States]:
        self._padded.copy_(padded)
        for kept, given in zip(self._states, states, strict=True):
            for rows, new in zip(kept, given, strict=True):
                rows.copy_(new)
        with _device_of(padded):
            self._replay()
        maps, after = self._outputs
        return maps, _copies(after)  # the caller keeps them beyond the next call


def _device_of(tensor: Tensor) -> torch.cuda.device:
    """A block in which this tensor's GPU is the current one; -1 changes nothing."""
    return torch.cuda.device(tensor.device.index if tensor.is_cuda else -1)


def _copies(states: States) -> States:
    return tuple(tuple(rows.clone() for rows in state) for state in states)
