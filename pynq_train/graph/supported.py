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
    Shape,
)

_RUNS = (Conv, Dense, Relu, Relu6, MaxPool2x2, MaxPool, AvgPool, Flatten, BatchNorm, Add, Concat,
         GlobalAvgPool, PadChannels, Dropout)
_INSTEAD: dict[type[Op], str] = {
}
GROUP_LANES, GROUP_BLOCK = 16, 4
"""Channels of a group: as many output as input channels, a divisor of the first, so that tiles of
the array hold groups; or multiples of the second, so that groups begin at words."""
POOL_KERNELS, POOL_STRIDES = (2, 3), (1, 2, 3)
"""Windows of the maxima that the engine takes."""
_WINDOWS = "use a kernel of 2 or 3 and a stride of 1, 2 or 3"
_GROUPED = ("use groups of 1, 2, 4, 8 or 16 channels that keep their number, groups whose input "
            "and output channels are multiples of 4, or groups=1")


def _tiled(op: Conv, shape: Shape) -> bool:
    """Whether the groups of a convolution lie within tiles of channels, or begin at words."""
    inputs, outputs = shape[0] // op.groups, op.out_channels // op.groups
    return ((inputs == outputs and GROUP_LANES % outputs == 0)
            or inputs % GROUP_BLOCK == outputs % GROUP_BLOCK == 0)


def check_supported(graph: Graph) -> None:
    """Raise :class:`UnsupportedModel` that lists every operation that the engine does not run.

    The text names them by kind, each kind with what could replace it.
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for at, op in enumerate(graph.ops):
        if not isinstance(op, _RUNS):
            key = (op.kind, _INSTEAD[type(op)])
        elif isinstance(op, Conv) and op.groups > 1 and not _tiled(op, graph.in_shapes[at][0]):
            key = ("conv with such groups", _GROUPED)
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
