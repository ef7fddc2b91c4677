"""A network under construction by an importer: operations, parameters and everything refused.

An importer walks the foreign network in order of computation, and adds or refuses each node;
:meth:`Draft.finish` returns the model or one error that lists all refused nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.model import Model
from pynq_train.graph.ops import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    MaxPool2x2,
    Op,
)
from pynq_train.graph.params import FloatArray, LayerParams
from pynq_train.graph.shapes import Padding, Shape, window_of
from pynq_train.graph.wiring import INPUT
from pynq_train.hw.limits import MAX_KERNEL, MAX_STRIDE

Pads = tuple[int, int, int, int]
"""Zero rows above, columns left, rows below, columns right."""


class Refused(Exception):
    """A node that has no counterpart: why, and what could replace it."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.why = why
        self.instead = instead


@dataclass(frozen=True)
class Value:
    """Something that the foreign network computes.

    ``name`` is the operation that yields it, ``shape`` its ``(channels, rows, cols)``; ``pads``
    are zeros that the next convolution shall put around it. ``flat`` tells that the foreign
    network sees a vector. ``map_shape`` is the map that was flattened, where the foreign network
    counts its values in another order.
    """

    name: str
    shape: Shape
    pads: Pads = (0, 0, 0, 0)
    flat: bool = False
    map_shape: Shape | None = None


class Draft:
    """Collects operations of a network that reads images of ``input_shape``."""

    def __init__(self, input_shape: Shape, name: str) -> None:
        self.name = name
        self.input = Value(INPUT, input_shape, flat=input_shape[1:] == (1, 1))
        self._ops: list[Op] = []
        self._params: dict[str, LayerParams] = {}
        self._refused: list[str] = []
        self._taken = {INPUT}

    def add(self, op: Op, *sources: Value, label: str = "", params: LayerParams | None = None
            ) -> Value:
        """Append ``op`` reading ``sources``, named after ``label``, and return its output.

        Raises:
            Refused: the operation's own rules forbid it here.
        """
        if any(any(source.pads) for source in sources):
            raise Refused("reads a padded map", "pad only before a convolution")
        try:
            named = replace(op, name=self._name(label or op.kind, op.kind),
                            inputs=tuple(source.name for source in sources))
            named.verify()
            shape = named.out_shape(*(source.shape for source in sources))
        except BadInput as error:
            raise Refused(str(error).removeprefix(f"{label}: "), error.fix or
                          "change it in the original network") from None
        self._ops.append(named)
        self._taken.add(named.name)
        if params is not None:
            self._params[named.name] = params
        return Value(named.name, shape, flat=all(source.flat for source in sources))

    def refuse(self, node: str, kind: str, refused: Refused) -> None:
        """Note that ``node`` of the foreign kind ``kind`` has no counterpart."""
        why = f" {refused.why}" if refused.why else ""
        self._refused.append(f"{node} ({kind}){why}: {refused.instead}")

    def finish(self, output: Value | None) -> Model:
        """Return the verified model whose last operation yields ``output``.

        Raises:
            UnsupportedModel: names every refused node, each with what could replace it.
        """
        if self._refused:
            count = len(self._refused)
            raise UnsupportedModel(f"network {self.name!r} has {count} unsupported "
                                   f"node{'s' if count > 1 else ''}: " + "; ".join(self._refused))
        if output is None or not self._ops or output.name != self._ops[-1].name:
            raise UnsupportedModel(f"network {self.name!r}", expected="one output, yielded by the "
                                   "last operation", found=output.name if output else "none",
                                   fix="leave out what the output does not need")
        ordered = [replace(op, inputs=()) if op.inputs == (before,) else op
                   for op, before in zip(self._ops, [INPUT] + [op.name for op in self._ops])]
        graph = Graph.build(self.input.shape, ordered, self.name)
        return Model(graph, self._params)

    # -- what the formats share ------------------------------------------------------------------

    def conv(self, source: Value, weight: FloatArray, bias: FloatArray | None, *, kernel: Any,
             stride: Any, padding: Padding | Pads, dilation: Any, groups: int, label: str) -> Value:
        """Append a convolution with weights ``(m, n, kr, kc)``; zeros before it join in."""
        size, step = checked_window(kernel, stride)
        if _square(dilation, "dilation") != 1:
            raise Refused(f"has dilation {dilation}", "use a larger kernel or a stride")
        pads = self._padding(source, size, step, padding, size - 1)
        op = Conv(len(weight), size, step, pads, bias is not None, groups=groups)
        params = LayerParams(_float32(weight), None if bias is None else _float32(bias))
        return self.add(op, replace(source, pads=(0, 0, 0, 0)), label=label, params=params)

    def pool(self, source: Value, *, largest: bool, kernel: Any, stride: Any,
             padding: Padding | Pads, label: str, counts_padding: bool = True) -> Value:
        """Append max or average pooling; ``counts_padding`` tells if its zeros count."""
        if source.shape[1:] == tuple(_pair(kernel)) and not largest:
            return self.global_mean(source, label)
        size, step = checked_window(kernel, stride)
        pads = self._padding(source, size, step, padding, size // 2)
        op: Op = MaxPool(size, step, pads) if largest else AvgPool(size, step, pads)
        windows = [window_of(n, size, step, pads) for n in source.shape[1:]]
        if not largest and not counts_padding and any(w.pad_before + w.pad_after for w in windows):
            raise Refused("leaves its padding out of the mean",
                          "pool without padding, or count the padding (count_include_pad)")
        if largest and (size, step) == (2, 2) and not any(
                w.pad_before + w.pad_after for w in windows):
            op = MaxPool2x2()
        return self.add(op, source, label=label)

    def add_bias(self, source: Value, bias: Any) -> Value:
        """Give the layer that yields ``source`` a bias, where it is the last and has none."""
        last = self._ops[-1] if self._ops else None
        array = _float32(bias)
        if (not isinstance(last, (Conv, Dense)) or last.bias or last.name != source.name
                or array.size not in (1, source.shape[0])):
            raise Refused("adds a constant", "use the bias of the layer before it")
        self._ops[-1] = replace(last, bias=True)
        self._params[last.name] = LayerParams(self._params[last.name].weight, np.array(
            np.broadcast_to(array.reshape(-1), source.shape[:1])))
        return source

    def global_mean(self, source: Value, label: str) -> Value:
        """Append global average pooling."""
        return self.add(GlobalAvgPool(), source, label=label)

    def flatten(self, source: Value, label: str) -> Value:
        """Flatten ``(channel, row, col)``; a vector stays as it is."""
        if source.shape[1:] == (1, 1):
            return replace(source, flat=True)
        return replace(self.add(Flatten(), source, label=label), flat=True)

    # -- private ---------------------------------------------------------------------------------

    def _padding(self, source: Value, kernel: int, stride: int, padding: Padding | Pads,
                 most: int) -> Padding:
        """Return the padding of an operation that has the wanted zeros on all four sides."""
        own = padding
        if isinstance(own, int):
            own = (own, own, own, own)
        if isinstance(own, str):
            if any(source.pads):
                raise Refused("pads an input that is padded already", "use one of both")
            return "same"
        top, left, bottom, right = (a + b for a, b in zip(own, source.pads))
        if top == left == bottom == right and top <= most:
            return top
        candidates: tuple[Padding, ...] = (top, "same") if top == left <= most else ("same",)
        for candidate in candidates:
            windows = [window_of(size, kernel, stride, candidate) for size in source.shape[1:]]
            # Zeros behind the last window are never read: sizes and zeros before decide.
            if all((size + before + after - kernel) // stride + 1 == window.size
                   and before == window.pad_before for window, size, before, after
                   in zip(windows, source.shape[1:], (top, left), (bottom, right))):
                return candidate
        raise Refused(f"has padding {(top, left, bottom, right)} (top, left, bottom, right)",
                      f"use 'same' padding, or equal padding of {most} at most on all sides")

    def _name(self, label: str, kind: str) -> str:
        clean = re.sub(r"[^A-Za-z0-9_.-]+", ".", label).strip(".")
        if not re.match(r"[A-Za-z_]", clean):
            clean = f"{kind}{clean}"
        name, number = clean, 1
        while name in self._taken:
            number += 1
            name = f"{clean}_{number}"
        return name


def _float32(array: Any) -> FloatArray:
    return np.ascontiguousarray(array, dtype=np.float32)


def _pair(value: Any) -> list[int]:
    values = [value, value] if isinstance(value, int) else [int(v) for v in value]
    return values * 2 if len(values) == 1 else values


def checked_window(kernel: Any, stride: Any) -> tuple[int, int]:
    """Return kernel and stride, each square and not larger than the engine takes.

    ``layers.supported`` refuses the same later, when no foreign name is known any more.

    Raises:
        Refused: one of them is not.
    """
    size, step = _square(kernel, "kernel"), _square(stride, "stride")
    for what, value, most in (("kernel", size, MAX_KERNEL), ("stride", step, MAX_STRIDE)):
        if value > most:
            raise Refused(f"has {what} {value}", f"use a {what} of {most} at most")
    return size, step


def _square(value: Any, what: str) -> int:
    rows, cols = _pair(value)
    if rows != cols:
        raise Refused(f"has {what} {rows}x{cols}", f"use a square {what}")
    return rows
