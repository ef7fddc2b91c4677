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
    Relu,
    Relu6,
)

_RUNS = (Conv, Dense, Relu, MaxPool2x2, Flatten, BatchNorm, Add, GlobalAvgPool)
_INSTEAD: dict[type[Op], str] = {
    Concat: "use one convolution with the channels of all branches",
    MaxPool: "use MaxPool2x2",
    AvgPool: "use MaxPool2x2, or a convolution with a stride",
    Relu6: "use Relu",
    Dropout: "leave it out and use weight_decay",
}
_GROUPED = "use groups=1"


def check_supported(graph: Graph) -> None:
    """Raise :class:`UnsupportedModel` that lists every operation that the engine does not run.

    The text names them by kind, each kind with what could replace it.
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for op in graph.ops:
        if not isinstance(op, _RUNS):
            key = (op.kind, _INSTEAD[type(op)])
        elif isinstance(op, Conv) and op.groups > 1:
            key = ("conv with groups", _GROUPED)
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
