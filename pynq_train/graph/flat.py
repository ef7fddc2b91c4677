"""Flattened values: which feature map they stand for. Flattening moves nothing in device memory."""

from __future__ import annotations

from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Activate, Curve, Dropout, Flatten
from pynq_train.graph.shapes import Shape
from pynq_train.graph.wiring import FROM_INPUT

_PLAIN = (Activate, Curve, Dropout)


def map_shape(graph: Graph, place: int) -> Shape | None:
    """Return the shape of the map that the value at ``place`` was flattened from.

    None if it is not flattened; dropout and activations keep what is. ``place``: of an operation,
    -1 for the network's input.
    """
    flat = False
    while place != FROM_INPUT and isinstance(graph.ops[place], (Flatten, *_PLAIN)):
        flat = flat or isinstance(graph.ops[place], Flatten)
        place = graph.sources[place][0]
    if not flat:
        return None
    return graph.input_shape if place == FROM_INPUT else graph.shapes[place]
