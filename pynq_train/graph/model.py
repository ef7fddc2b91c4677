"""A network with its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pynq_train.errors import BadInput
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
        frozen: parameters that a learner leaves as they are unless they are named for it
            (``trainable="*"``): ``conv1.weight``.

    Raises:
        BadInput: the parameters do not fit the graph, or ``frozen`` names something else.
    """

    graph: Graph
    params: Mapping[str, LayerParams]
    input_format: ImageFormat = ANY_IMAGES
    frozen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_graph_params(self.graph, self.params)
        unknown = sorted(self.frozen - self._parts())
        if unknown:
            raise BadInput("frozen", expected="names of parameters: LAYER.weight, LAYER.bias",
                           found=", ".join(unknown))

    def _parts(self) -> set[str]:
        """Return the names of all parameters that can learn."""
        return {f"{spec.name}.{part}" for spec in graph_param_specs(self.graph)
                for part in (("weight", "bias") if spec.bias else ("weight",))}

    @property
    def trainable(self) -> str | tuple[str, ...]:
        """What learns: ``all``, or names of layers and parameters."""
        learning = self._parts() - self.frozen
        if not self.frozen or not learning:
            return "all"
        names: list[str] = []
        for spec in graph_param_specs(self.graph):
            own = [part for part in (f"{spec.name}.weight", f"{spec.name}.bias")
                   if part in self._parts()]
            chosen = [part for part in own if part in learning]
            names += [spec.name] if chosen == own else chosen
        return tuple(names)

    def __repr__(self) -> str:
        """One line: the parameters themselves are too many to print."""
        count = sum(spec.learned for spec in graph_param_specs(self.graph))
        frozen = f", frozen: {len(self.frozen)} tensors" if self.frozen else ""
        channels, rows, cols = self.graph.input_shape
        return (f"<Model {self.graph.name}: input {channels}x{rows}x{cols}, "
                f"{len(self.graph.ops)} operations, {count} parameters{frozen}, "
                f"{self.input_format}>")
