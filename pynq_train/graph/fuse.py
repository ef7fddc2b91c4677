"""Groups a graph's operations into the layers that the engine runs as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pynq_train.errors import UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    MaxPool2x2,
    Op,
    Relu,
    Relu6,
    Shape,
)
from pynq_train.graph.supported import check_supported

SUPPORTED = ("the engine runs (Conv, Dense or AvgPool), then optionally Relu (or Relu6) and "
             "MaxPool2x2")
_RELUS = (Relu, Relu6)


@dataclass(frozen=True)
class FusedLayer:
    """A convolution or fully connected layer with what follows it on the store path.

    Shapes are ``(channels, rows, cols)``. ``in_shape`` of a dense layer is the shape of the
    feature map it flattens (its weights are ``W[m, n]``, n over (channel, row, col)); kernel and
    stride are 1 and padding 0 there. ``out_shape_before_pool`` is the convolution's own output;
    zeros below and to the right follow from it (:attr:`pad_bottom`, :attr:`pad_right`). ReLU and
    max pooling commute, so their order is not kept. ``clip``: ReLU ends at 6. ``average``: average
    pooling, a convolution of one channel per group whose weights, 1 / kernel^2, never learn.
    """

    kind: Literal["conv", "dense"]
    name: str
    in_shape: Shape
    out_shape_before_pool: Shape
    out_shape: Shape
    kernel: int
    stride: int
    pad_top: int
    pad_left: int
    relu: bool
    pool: bool
    bias: bool
    groups: int = 1
    clip: bool = False
    average: bool = False

    @property
    def out_channels(self) -> int:
        """Output channels (units of a dense layer)."""
        return self.out_shape[0]

    @property
    def in_features(self) -> int:
        """Number of input values per image."""
        return self.in_shape[0] * self.in_shape[1] * self.in_shape[2]

    @property
    def fan_in(self) -> int:
        """Products per output value."""
        if self.kind == "dense":
            return self.in_features
        return self.in_shape[0] // self.groups * self.kernel * self.kernel

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """``(m, n, kr, kc)`` of a convolution, ``(m, n)`` of a dense layer."""
        if self.kind == "dense":
            return (self.out_channels, self.in_features)
        return (self.out_channels, self.in_shape[0] // self.groups, self.kernel, self.kernel)

    @property
    def pad_bottom(self) -> int:
        """Zero rows that the last window reads below the image."""
        return self._pad_after(1, self.pad_top)

    @property
    def pad_right(self) -> int:
        """Zero columns that the last window reads right of the image."""
        return self._pad_after(2, self.pad_left)

    @property
    def macs_per_image(self) -> int:
        """Multiply-adds of one pass over one image."""
        _, rows, cols = self.out_shape_before_pool
        return self.out_channels * rows * cols * self.fan_in

    def _pad_after(self, axis: int, before: int) -> int:
        if self.kind == "dense":
            return 0
        reach = (self.out_shape_before_pool[axis] - 1) * self.stride + self.kernel
        return max(reach - before - self.in_shape[axis], 0)


def fuse(graph: Graph) -> tuple[FusedLayer, ...]:
    """Return the fused layers of a verified graph.

    Supported is ``[Flatten] Dense``, ``Conv`` or ``AvgPool``, each followed by at most one Relu
    or Relu6 and one MaxPool2x2 in either order; the last layer yields the logits: Dense, or a Conv
    whose output is 1x1, with nothing behind it. Raises :class:`UnsupportedModel` that names the
    operation; all operations of kinds that the engine does not run are named at once.
    """
    check_supported(graph)
    layers: list[FusedLayer] = []
    shape = graph.input_shape
    position = 0
    while position < len(graph.ops):
        op = graph.ops[position]
        flattened = False
        while isinstance(op, Flatten):
            flattened = True
            position += 1
            if position == len(graph.ops):
                raise _refuse(op, "is the last operation", "end with a Dense layer")
            op = graph.ops[position]
        if isinstance(op, (Conv, AvgPool)):
            if flattened:
                raise _refuse(op, "reads a flattened map", "use Dense after Flatten")
        elif not isinstance(op, Dense):
            after = "a Flatten" if flattened else (layers[-1].name if layers else "the input")
            raise _refuse(op, f"follows {after}", SUPPORTED)
        position += 1
        tail: list[Op] = []
        while position < len(graph.ops) and isinstance(graph.ops[position], (*_RELUS, MaxPool2x2)):
            extra = graph.ops[position]
            if any(isinstance(extra, _RELUS) == isinstance(other, _RELUS) for other in tail):
                raise _refuse(extra, f"is the second {extra.kind} of layer {op.name!r}", SUPPORTED)
            tail.append(extra)
            position += 1
        layer = _layer(op, shape, tail)
        layers.append(layer)
        shape = layer.out_shape
    _check_last(graph, layers)
    return tuple(layers)


def _layer(op: Conv | Dense | AvgPool, shape: Shape, tail: list[Op]) -> FusedLayer:
    relu = any(isinstance(extra, _RELUS) for extra in tail)
    pools = [extra for extra in tail if isinstance(extra, MaxPool2x2)]
    groups, bias = 1, False
    if isinstance(op, AvgPool):
        groups = shape[0]
    else:
        bias = op.bias
    if isinstance(op, Conv):
        groups = op.groups
    if not isinstance(op, Dense):
        before = op.out_shape(shape)
        kernel, stride = op.kernel, op.stride
        top, left = op.window(shape[1]).pad_before, op.window(shape[2]).pad_before
    else:
        before = (op.units, 1, 1)
        kernel, stride, top, left = 1, 1, 0, 0
    out = pools[0].out_shape(before) if pools else before
    kind: Literal["conv", "dense"] = "dense" if isinstance(op, Dense) else "conv"
    return FusedLayer(kind, op.name, shape, before, out, kernel, stride, top, left, relu,
                      bool(pools), bias, groups, any(isinstance(extra, Relu6) for extra in tail),
                      isinstance(op, AvgPool))


def _check_last(graph: Graph, layers: list[FusedLayer]) -> None:
    if not layers:
        raise UnsupportedModel(f"network {graph.name!r} has no Conv or Dense layer",
                               fix="end with a Dense layer that yields the logits")
    last = layers[-1]
    if last.relu or last.pool:
        raise UnsupportedModel(
            f"the last layer {last.name!r} must yield the logits",
            expected="nothing behind it",
            found=("Relu6" if last.clip else "Relu") if last.relu else "MaxPool2x2",
            fix="remove it: softmax and loss follow by themselves",
        )
    if last.out_shape[1:] != (1, 1):
        raise UnsupportedModel(
            f"the last layer {last.name!r} must yield the logits",
            expected="a Dense layer or a convolution with 1x1 output",
            found=f"output {last.out_shape}",
            fix="add a Dense layer with one unit per class",
        )
    if last.out_shape[0] < 2:
        raise UnsupportedModel(f"the last layer {last.name!r}", expected="at least 2 classes",
                               found=last.out_shape[0])


def _refuse(op: Op, why: str, fix: str) -> UnsupportedModel:
    return UnsupportedModel(f"operation {op.name!r} ({op.kind}) {why}, which is not supported",
                            fix=fix)
