"""Symbols of the tensors that a layer reads and writes."""

from __future__ import annotations

from typing import Protocol

from pynq_train.layers.backward_graph import DLOGITS, BackwardGraph
from pynq_train.schedule.specs.spec import LayerSpec
from pynq_train.schedule.specs.trainable import Trainable


class Network(Protocol):
    """What the symbols follow from: layers, and what each reads forward and backward."""

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        """The layers as the engine sees them."""

    @property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """Positions of the layers that each layer reads, -1 for the images."""

    @property
    def evaluation_sources(self) -> tuple[tuple[int, ...], ...]:
        """The same in an evaluation, which reads past dropouts."""

    @property
    def trainable(self) -> tuple[Trainable, ...]:
        """What is trained of each layer."""

    @property
    def backward_graph(self) -> BackwardGraph:
        """Which gradients are computed from which."""


def input_symbol(network: Network, layer: int, which: int = 0, train: bool = True) -> str:
    """Return the symbol of a layer's input.

    Args:
        network: the network.
        layer: position of the layer.
        which: number of the input, 0 or 1.
        train: False in an evaluation, which reads past dropouts.
    """
    source = (network.sources if train else network.evaluation_sources)[layer][which]
    return "input" if source < 0 else output_symbol(network, source)


def output_symbol(network: Network, layer: int) -> str:
    """Return the symbol of a layer's output."""
    return "logits" if layer == len(network.specs) - 1 else f"{network.specs[layer].name}.y"


def gradient_symbol(network: Network, layer: int) -> str:
    """Return the symbol of the gradient of a layer's output; empty if it has none."""
    if layer == len(network.specs) - 1:
        return DLOGITS
    own = network.backward_graph.of_layer.get(layer)
    return own.tensor if own else ""


def target_symbol(network: Network, layer: int) -> str:
    """Return the symbol of the gradient that a layer's backward pass writes; empty if there is
    none."""
    for node in network.backward_graph.nodes:
        if node.layer == layer and node.kind.through:
            return node.target
    return ""


def sums_products(network: Network, layer: int) -> bool:
    """Return whether the backward pass of a normalisation sums products with its input.

    The gradient of gamma needs them, and the way through statistics of the mini-batch. Without,
    the input is not needed behind the forward pass.
    """
    return not network.specs[layer].frozen or network.trainable[layer].weights
