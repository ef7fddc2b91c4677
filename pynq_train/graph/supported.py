"""Which operations the engine runs, and what can stand in for the others."""

from __future__ import annotations

from pynq_train.errors import UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    MaxPool2x2,
    Op,
    PadChannels,
    Relu,
    Relu6,
)

_RUNS = (Conv, Dense, Relu, Relu6, MaxPool2x2, MaxPool, AvgPool, Flatten, BatchNorm, Add, Concat,
         GlobalAvgPool, PadChannels, Dropout)
_INSTEAD: dict[type[Op], str] = {
}
POOL_KERNELS, POOL_STRIDES = (2, 3), (1, 2, 3)
"""Windows of the maxima that the engine takes."""
_WINDOWS = "use a kernel of 2 or 3 and a stride of 1, 2 or 3"


def check_supported(graph: Graph) -> None:
    """Raise :class:`UnsupportedModel` that lists every operation that the engine does not run.

    The text names them by kind, each kind with what could replace it.
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for op in graph.ops:
        if not isinstance(op, _RUNS):
            key = (op.kind, _INSTEAD[type(op)])
        elif isinstance(op, MaxPool) and not (op.kernel in POOL_KERNELS
                                              and op.stride in POOL_STRIDES):
            key = ("maxpool with such windows", _WINDOWS)
        else:
            continue
        reasons.setdefault(key, []).append(op.name)
    if reasons:
        count = sum(len(names) for names in reasons.values())
        listed = "; ".join(f"{', '.join(names)} ({kind}): {instead}"
                           for (kind, instead), names in reasons.items())
        raise UnsupportedModel(f"network {graph.name!r} has {count} "
                               f"operation{'s' if count > 1 else ''} that the engine does not run: "
                               f"{listed}")
