"""Which operations the engine runs, and what can stand in for the others.

``graph`` is mathematics and knows no hardware: a kernel of 20 is a fine convolution there. What the
units limit is refused here, before layers are made; importers (``exchange``) refuse the same while
they still know the foreign names, from the same constants of ``hw``.
"""

from __future__ import annotations

from pynq_train.errors import UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import AvgPool, Conv, MaxPool, Op
from pynq_train.hw.limits import (
    MAX_KERNEL,
    MAX_POOL_KERNEL,
    MAX_POOL_STRIDE,
    MAX_STRIDE,
    MIN_POOL_KERNEL,
)

_ARRAY = range(1, MAX_KERNEL + 1), range(1, MAX_STRIDE + 1)
_WINDOWS: dict[type[Op], tuple[range, range]] = {
    Conv: _ARRAY, AvgPool: _ARRAY,
    MaxPool: (range(MIN_POOL_KERNEL, MAX_POOL_KERNEL + 1), range(1, MAX_POOL_STRIDE + 1)),
}
"""Kernels and strides that the engine takes, by operation."""


def check_supported(graph: Graph) -> None:
    """Raise :class:`UnsupportedModel` that lists every operation that the engine does not run.

    The text names what could replace them. What cannot stand where it stands, ``fuse`` refuses.
    """
    refused: dict[type[Op], list[str]] = {}
    for op in graph.ops:
        if isinstance(op, (Conv, AvgPool, MaxPool)):
            kernels, strides = _WINDOWS[type(op)]
            if op.kernel not in kernels or op.stride not in strides:
                refused.setdefault(type(op), []).append(op.name)
    if refused:
        count = sum(map(len, refused.values()))
        raise UnsupportedModel(
            f"network {graph.name!r} has {count} operation{'s' if count > 1 else ''} that the "
            "engine does not run: " + "; ".join(
                f"{', '.join(names)} ({kind.kind} with such windows): use {_instead(kind)}"
                for kind, names in refused.items()))


def _instead(kind: type[Op]) -> str:
    kernels, strides = map(_choices, _WINDOWS[kind])
    return f"a kernel of {kernels} and a stride of {strides}"


def _choices(values: range) -> str:
    """``2 or 3``, ``1, 2 or 3``, or the ends of a longer range: ``1 to 11``."""
    if len(values) > 3:
        return f"{values[0]} to {values[-1]}"
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}"
