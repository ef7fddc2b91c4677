"""A layer that the engine runs as one piece, as a frozen value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from pynq_train.fixed import drop_threshold
from pynq_train.graph.activation import Activation
from pynq_train.graph.curves import Curve
from pynq_train.graph.shapes import Shape
from pynq_train.graph.windows import ONE, Pair
from pynq_train.graph.wiring import FROM_INPUT
from pynq_train.layers.kinds import Kind


@dataclass(frozen=True)
class Norm:
    """Constants of a normalisation; ``group``: channels of an image that share statistics, or 0."""

    momentum: float
    eps: float
    frozen: bool
    group: int = 0


@dataclass(frozen=True)
class Drop:
    """A dropout: its rate, and its place in the graph, which names its random bits."""

    rate: float
    place: int

    @property
    def least(self) -> int:
        """Smallest value of 16 random bits with which an element is kept."""
        return drop_threshold(self.rate)


@dataclass(frozen=True, kw_only=True)
class FusedLayer:
    """One layer of the engine with what follows it on its way to memory.

    ``conv`` and ``dense`` run on the array, with activation and pooling on the store path. ``norm``
    (batch normalisation, then the sum with a second input if it has one), ``add`` (sum of two
    maps, or a copy of one) and ``drop`` (dropout: in training only) run on the vector unit, with an
    activation behind them; so do ``mean`` (global average), ``pool`` (maxima of windows) and
    ``curve`` (an activation by a table), without one: the activation behind these is that of a
    copy. ``concat`` runs nowhere: its
    sources write where it stands.

    Shapes are ``(channels, rows, cols)``. ``in_shape`` of a dense layer is the shape of the
    feature map it flattens (its weights are ``W[m, n]``, n over (channel, row, col)); kernel and
    stride are 1 and padding 0 there. ``out_shape_before_pool`` is the convolution's own output;
    zeros below and to the right follow from it (:attr:`pad_bottom`, :attr:`pad_right`). Activations
    and max pooling commute, so their order is not kept. ``sources``: positions of the layers that
    it reads, -1 for the images. ``average``: average pooling, a convolution of one channel per
    group whose weights, 1 / (kernel rows * columns), never learn; so is ``upsample``, transposed,
    whose weights are one, or those of a bilinear one: its stride is its factor. ``bilinear`` has
    the weights of all its pieces (``layers.pieces``) in a row. ``copies``: of a layer that only
    moves channels (``average`` holds too), for each output channel the input channel that it is, -1
    for zeros. ``reads``: the input channels that the weights belong to, in their order; those for
    others are absent. Both are None for other layers. ``dilation``: rows and columns from pixel to
    pixel of a window; the kernel is its whole reach, with absent weights between. Kernel, stride
    and padding of a transposed layer are those of the windows over its output, one for each pixel
    of its input. ``curve``: of an activation by a table. ``pointwise``: a fully connected layer
    with weights ``W[m, n, 1, 1]``, those of a 1x1 convolution. ``scale``: gamma and beta of a group
    normalisation, as a convolution.
    """

    kind: Kind
    name: str
    in_shape: Shape
    out_shape_before_pool: Shape
    out_shape: Shape
    kernel: Pair = ONE
    stride: Pair = ONE
    pad_top: int = 0
    pad_left: int = 0
    activation: Activation = Activation.NONE
    pool: bool = False
    bias: bool = False
    groups: int = 1
    average: bool = False
    sources: tuple[int, ...] = (FROM_INPUT,)
    norm: Norm | None = None
    copies: tuple[int, ...] | None = None
    reads: tuple[int, ...] | None = None
    dilation: Pair = ONE
    drop: Drop | None = None
    curve: Curve | None = None
    pointwise: bool = False
    scale: bool = False

    @property
    def on_array(self) -> bool:
        """Whether the layer is a convolution or fully connected."""
        return self.kind.on_array

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
        """Products per output value; 1 for a normalisation, 0 for a layer without weights."""
        if not self.on_array:
            return int(self.kind.normalises)
        if self.kind.transposed:  # of a pixel of the output, on average
            terms = self.in_shape[0] // self.groups * self.kernel.area
            return max(terms // self.stride.area, 1)
        channels, rows, cols = self.in_shape
        if self.reads is not None:
            channels = len(self.reads)
        if self.kind.fully_connected:
            return channels * rows * cols
        return channels // self.groups * self.places.area

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """``(m, n, kr, kc)`` of a convolution, ``(m, n)`` of a dense layer, else ``(m,)``.

        Of a transposed layer ``(n, m, kr, kc)``; n and m count its input and output channels.
        """
        if not self.on_array or self.scale:
            return (self.out_channels,)
        if self.kind.fully_connected:
            ends = (1, 1) if self.pointwise else ()
            return (self.out_channels, self.fan_in, *ends)
        m, n = self.out_channels, self.in_shape[0] if self.reads is None else len(self.reads)
        if self.kind.transposed:
            m, n = n, m
        return (m, n // self.groups, *self.places)

    @property
    def places(self) -> Pair:
        """Rows and columns of weights: those of the kernel, without the gaps of a dilation."""
        return Pair(*((size - 1) // apart + 1 for size, apart in zip(self.kernel, self.dilation)))

    @property
    def has_parameters(self) -> bool:
        """Whether the layer has anything that can be trained."""
        return (self.on_array and not self.average) or self.kind.has_running

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
        """Multiply-adds of one pass over one image on the array."""
        if not self.on_array:
            return 0
        _, rows, cols = self.in_shape if self.kind.transposed else self.out_shape_before_pool
        return prod(self.weight_shape) * rows * cols

    def _pad_after(self, axis: int, before: int) -> int:
        """Return the zeros that the last window reads behind an axis with ``before`` zeros in
        front."""
        if not self.kind.convolves or self.kind.transposed:
            return 0
        kernel, stride = self.kernel[axis - 1], self.stride[axis - 1]
        reach = (self.out_shape_before_pool[axis] - 1) * stride + kernel
        return max(reach - before - self.in_shape[axis], 0)


def in_series(layers: Iterable[FusedLayer]) -> tuple[FusedLayer, ...]:
    """Let each layer read the one before it, the first one the images."""
    return tuple(replace(layer, sources=(at - 1,)) for at, layer in enumerate(layers))
