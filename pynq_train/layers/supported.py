"""Which operations the engine runs, and what can stand in for the others."""

from __future__ import annotations

from pynq_train.errors import UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import MaxPool

POOL_KERNELS, POOL_STRIDES = (2, 3), (1, 2, 3)
"""Windows of the maxima that the engine takes."""
_WINDOWS = "use a kernel of 2 or 3 and a stride of 1, 2 or 3"


def check_supported(graph: Graph) -> None:
    """Check that the engine runs every operation of a graph by itself.

    Whether each can stand where it stands, ``fuse`` finds out.

    Raises:
        UnsupportedModel: it does not; all such operations are named, and what could replace them.
    """
    names = [op.name for op in graph.ops if isinstance(op, MaxPool)
             and not (op.kernel in POOL_KERNELS and op.stride in POOL_STRIDES)]
    if names:
        raise UnsupportedModel(f"network {graph.name!r} has {len(names)} "
                               f"operation{'s' if len(names) > 1 else ''} that the engine does not "
                               f"run: {', '.join(names)} (maxpool with such windows): {_WINDOWS}")
