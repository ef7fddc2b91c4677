"""A network with its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pynq_train.graph.graph import Graph
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.graph.params import LayerParams, check_graph_params, graph_param_specs


@dataclass(frozen=True)
class Model:
    """A verified graph and float32 parameters that fit it, for example imported ones.

    Attributes:
        graph: the network.
        params: weights, biases and running statistics by layer name.
        input_format: the images that it was made for.

    Raises:
        BadInput: the parameters do not fit the graph.
    """

    graph: Graph
    params: Mapping[str, LayerParams]
    input_format: ImageFormat = ANY_IMAGES

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_graph_params(self.graph, self.params)

    def __repr__(self) -> str:
        """One line: the parameters themselves are too many to print."""
        count = sum(spec.learned for spec in graph_param_specs(self.graph))
        channels, rows, cols = self.graph.input_shape
        return (f"<Model {self.graph.name}: input {channels}x{rows}x{cols}, "
                f"{len(self.graph.ops)} operations, {count} parameters, {self.input_format}>")
