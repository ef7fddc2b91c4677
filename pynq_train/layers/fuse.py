"""Groups the operations of a graph into the layers that the engine runs as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.activation import Activation
from pynq_train.graph.flat import map_shape
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import (
    ACTIVATIONS,
    CURVES,
    Activate,
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Curve,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    MaxPool,
    MaxPool2x2,
    Multiply,
    Op,
    PadChannels,
    PickChannels,
    Shape,
    Upsample,
)
from pynq_train.graph.windows import ONE, Pair
from pynq_train.graph.wiring import FROM_INPUT
from pynq_train.layers import kinds
from pynq_train.layers.branch_order import execution_order
from pynq_train.layers.concat import Copy
from pynq_train.layers.edge import Edge, of_graph
from pynq_train.layers.fused_layer import Drop, FusedLayer, Norm, in_series
from pynq_train.layers.group_norms import Scale, rewritten
from pynq_train.layers.picks import is_vector, merge_picks, vanishing
from pynq_train.layers.pieces import Pieces
from pynq_train.layers.supported import check_supported
from pynq_train.layers.vectors import with_vectors

__all__ = ["Drop", "Edge", "FusedLayer", "Norm", "edges", "fuse", "in_series"]

__all__ = ["Drop", "Edge", "FusedLayer", "Norm", "edges", "fuse", "in_series", "placed"]

SUPPORTED = ("the engine runs (Conv, Dense or AvgPool), then optionally an activation "
             f"({', '.join(op.__name__ for op in ACTIVATIONS)}) and MaxPool2x2; BatchNorm, "
             "GroupNorm, Add, Dropout, GlobalAvgPool, ConvTranspose, Upsample, then optionally an "
             "activation; MaxPool; Concat; PadChannels and PickChannels; "
             f"{', '.join(op.__name__ for op in CURVES)} behind any of them")
_POOLS = (MaxPool, MaxPool2x2)
_ACTIVATION_FIRST = "put it in front of the pooling: the values are the same"


def fuse(graph: Graph) -> tuple[FusedLayer, ...]:
    """Return the fused layers of a verified graph, each behind those that it reads.

    Supported are ``Conv``, ``AvgPool`` and ``[Flatten] Dense``, each followed by at most one
    activation and one MaxPool2x2 in either order; BatchNorm, then at most one Add that nobody else
    reads past, and an activation; Add, Dropout, GlobalAvgPool, ConvTranspose and Upsample, then an
    activation; other MaxPools (an activation behind one is taken in front of it, where nothing else
    may read).
    A Dropout of rate 0 is left out. Any of them may be the end but a Dropout; a Flatten there moves
    nothing. Which end suits which loss, :mod:`pynq_train.layers.ends` says.

    Raises:
        UnsupportedModel: names all operations that the engine does not run, or not where they
            stand.
    """
    problems: list[UnsupportedModel] = []

    def tried(check: Callable[[], Graph | None]) -> Graph:
        """Return what ``check`` returns, or the graph as it is; note what is wrong."""
        try:
            return check() or graph
        except UnsupportedModel as error:
            problems.append(error)
            return graph

    tried(lambda: check_supported(graph))
    # Dropouts are named by their places in the caller's graph, which knows no copies.
    places = {op.name: at for at, op in enumerate(graph.ops)}
    graph = tried(lambda: placed(graph))
    fusing = _Fusing(graph, places)
    try:
        layers = fusing.run()
        problems += fusing.problems
        tried(lambda: _check_sums(layers))
        tried(lambda: _check_last(graph, layers))
    except BadInput:
        if not fusing.problems and not problems:
            raise
        problems += fusing.problems  # the rest cannot be known before these are mended
    if len(problems) > 1:
        raise UnsupportedModel(f"network {graph.name!r} has {len(problems)} parts that the engine "
                               "does not run: " + "; ".join(map(str, problems)))
    if problems:
        raise problems[0]
    return layers


def placed(graph: Graph) -> Graph:
    """Return a graph that computes the same, made for layers: what only moves channels is placed.

    Raises:
        UnsupportedModel: as :func:`~.group_norms.rewritten`.
    """
    return merge_picks(rewritten(merge_picks(graph)))


def edges(graph: Graph) -> dict[str, Edge]:
    """Return where the outputs of the operations of a verified graph are made, by their names.

    Raises:
        UnsupportedModel: the engine does not run the network.
    """
    fuse(graph)
    placed_as = {op.name: at for at, op in enumerate(graph.ops)}
    return of_graph(graph, _Fusing(placed(graph), placed_as).edges())


@dataclass
class _Open:
    """A layer that is being put together.

    Attributes:
        first: position of the operation that begins it.
        last: position of the operation whose output is the layer's so far.
        reads: positions of the operations whose maps it reads.
        tail: operations behind the first one.
    """

    first: int
    last: int
    reads: list[int]
    tail: list[Op]


class _Fusing:
    """One pass over the operations: each begins a layer or follows one.

    ``_ends`` has the open layer whose output an operation yields; an operation inside a layer is
    not in it, since nobody else may read there. ``problems`` has what does not run where it stands:
    such operations begin a layer, so that the others can be looked at.

    Args:
        graph: the network, with its concatenations placed.
        dropouts: place of each operation in the network as it was given, by name.
    """

    def __init__(self, graph: Graph, dropouts: Mapping[str, int]) -> None:
        self.problems: list[UnsupportedModel] = []
        self._graph = graph
        self._dropouts = dropouts
        self._layers: list[_Open] = []
        self._ends: dict[int, _Open] = {}
        self._readers: dict[int, int] = {}
        self._vanishing = vanishing(graph)
        self._sources = [tuple(self._value(place) for place in sources)
                         for sources in graph.sources]
        for op, sources in zip(graph.ops, self._sources):
            # What is left out reads nothing: else its input would seem to have a second reader.
            for place in () if _is_nothing(op) else sources:
                self._readers[place] = self._readers.get(place, 0) + 1
        self._order = execution_order(graph.sources,
                                      [isinstance(op, (Conv, Dense)) for op in graph.ops])
        self._rank = {at: number for number, at in enumerate(self._order)}
        self._rank[FROM_INPUT] = FROM_INPUT

    def run(self) -> tuple[FusedLayer, ...]:
        """Return all layers, in the order of their last operations (:func:`execution_order`)."""
        for at in self._order:
            op = self._graph.ops[at]
            try:
                if not (isinstance(op, Flatten) or at in self._vanishing or _is_nothing(op)
                        or self._follow(at, op)):
                    self._check_begin(at, op)
                    self._begin(at)
            except UnsupportedModel as error:
                self.problems.append(error)
                self._begin(at)
        if isinstance(self._graph.ops[-1], Flatten):
            self.problems.append(_refuse(self._graph.ops[-1], "is the last operation",
                                         "end with a Dense layer"))
        # By last operations, not by first ones: a normalisation that adds a second map reads what
        # is made between the two.
        self._layers.sort(key=lambda layer: self._rank[layer.last])
        places = {layer.last: number for number, layer in enumerate(self._layers)}
        places[FROM_INPUT] = FROM_INPUT
        return with_vectors([self._finish(layer, places) for layer in self._layers])

    def edges(self) -> dict[str, Edge]:
        """Return the layer of each operation; what runs nowhere belongs to what it reads."""
        self.run()
        ops = self._graph.ops
        found = {ops[layer.last].name: Edge(number, ops[layer.last].name)
                 for number, layer in enumerate(self._layers)}
        for number, layer in enumerate(self._layers):
            for op in (ops[layer.first], *layer.tail):
                found.setdefault(op.name, Edge(number, ops[layer.last].name))
        for at, op in enumerate(ops):
            place = self._behind(self._value(at))
            if op.name not in found and place != FROM_INPUT:
                found[op.name] = Edge(found[ops[place].name].layer, op.name)
        return found

    def _value(self, place: int) -> int:
        """Return the position of what is read at ``place``: a dropout of rate 0 is left out."""
        while place != FROM_INPUT and _is_nothing(self._graph.ops[place]):
            place = self._graph.sources[place][0]
        return place

    def _behind(self, place: int) -> int:
        """Return the operation whose map is read at ``place``: flattening moves nothing."""
        while place != FROM_INPUT and (isinstance(self._graph.ops[place], Flatten)
                                       or place in self._vanishing):
            place = self._sources[place][0]
        return place

    def _picked(self, place: int) -> tuple[int, ...] | None:
        """Return the channels of the map at :meth:`_behind` that are read at ``place``, if not all.
        """
        while place != FROM_INPUT and isinstance(self._graph.ops[place], Flatten):
            place = self._sources[place][0]
        op = self._graph.ops[place]
        return op.channels if isinstance(op, PickChannels) and place in self._vanishing else None

    def _follow(self, at: int, op: Op) -> bool:
        """Put ``op`` behind the layer that it reads, if it can run there; return whether it can."""
        sources = self._sources[at]
        if isinstance(op, (Activate, *_POOLS)):
            layer = self._ends.get(sources[0])
            if layer is None or self._readers[sources[0]] > 1:
                return False
            if isinstance(op, _POOLS):
                return self._pool(layer, at, op)
            if self._windowed(layer):
                return self._activation_behind(layer, at, op)
            if self._flagless(layer):
                return False
            if any(isinstance(other, Activate)
                   for other in (self._graph.ops[layer.first], *layer.tail)):
                head = self._graph.ops[layer.first].name
                raise _refuse(op, f"is the second {op.kind} of layer {head!r}", SUPPORTED)
            self._extend(layer, at, op)
            return True
        if isinstance(op, Add) and len(sources) == 2 and len(set(sources)) == 2:
            # The normalisation that runs last takes the sum: when it runs, the other map is there.
            for place, other in sorted(zip(sources, reversed(sources)), reverse=True,
                                       key=lambda pair: self._rank[pair[0]]):
                layer = self._ends.get(place)
                if (layer is not None and not layer.tail and self._readers[place] == 1
                        and isinstance(self._graph.ops[layer.first], BatchNorm)):
                    layer.reads.append(other)
                    self._extend(layer, at, op)
                    return True
        return False

    def _windowed(self, layer: _Open) -> bool:
        """Return whether a layer is a pooling pass of its own."""
        return isinstance(self._graph.ops[layer.first], _POOLS)

    def _flagless(self, layer: _Open | None) -> bool:
        """Return whether a layer writes no flags, so that activations behind it are layers."""
        return layer is not None and isinstance(
            self._graph.ops[layer.first],
            (GlobalAvgPool, ConvTranspose, Upsample, Curve, Multiply))

    def _pool(self, layer: _Open, at: int, op: Op) -> bool:
        """Put a pooling behind a convolution on its way to memory; return whether that was done.

        The store path takes 2x2 windows without overlap, and one pooling of a layer.
        """
        half = isinstance(op, MaxPool2x2) or (
            isinstance(op, MaxPool) and (op.kernel, op.stride, op.padding) == (2, 2, 0))
        array = isinstance(self._graph.ops[layer.first], (Conv, AvgPool, PadChannels, PickChannels,
                                                           Dense))
        if not half or not array or any(isinstance(other, _POOLS) for other in layer.tail):
            return False
        # The store path pools what it drains, before anything is written.
        self._extend(layer, at, op)
        return True

    def _activation_behind(self, layer: _Open, at: int, op: Op) -> bool:
        """Take an activation behind a pooling pass into the layer before it: maxima commute."""
        below: _Open | None = layer
        while below is not None and self._windowed(below):
            # Others that read a map on the way would see it changed: then nothing is moved.
            place = below.reads[0]
            below = self._ends.get(place) if self._readers.get(place) == 1 else None
        if (below is None or self._flagless(below)
                or any(isinstance(other, Activate) for other in below.tail)):
            return False
        below.tail.append(op)
        del self._ends[layer.last]
        layer.last = at
        self._ends[at] = layer
        return True

    def _extend(self, layer: _Open, at: int, op: Op) -> None:
        """Let ``op`` be the last operation of a layer."""
        del self._ends[layer.last]
        layer.last = at
        layer.tail.append(op)
        self._ends[at] = layer

    def _begin(self, at: int) -> None:
        """Begin a layer with an operation."""
        layer = _Open(at, at, [self._behind(place) for place in self._sources[at]], [])
        self._layers.append(layer)
        self._ends[at] = layer

    def _check_begin(self, at: int, op: Op) -> None:
        """Check that a layer can begin with ``op`` where it stands.

        Raises:
            UnsupportedModel: no layer begins with it, or not there.
        """
        sources = self._sources[at]
        flattened = any(map_shape(self._graph, place) for place in sources)
        after = "a Flatten" if flattened else self._graph.name_at(sources[0])
        known = self._ends.get(sources[0])
        if isinstance(op, Activate) and not self._flagless(known):
            # An activation runs on the way of a layer to memory, never by itself; behind a mean or
            # an upsampling on that of a copy.
            name = self._graph.ops[known.first].name if known else after
            behind = known is not None and self._windowed(known)
            raise _refuse(op, f"follows {'the input' if name == 'input' else name}",
                          _ACTIVATION_FIRST if behind else SUPPORTED)
        if flattened and isinstance(op, (Conv, ConvTranspose, AvgPool, PadChannels,
                                         PickChannels)):
            raise _refuse(op, "reads a flattened map", "use Dense after Flatten")
        if flattened and not isinstance(op, (Dense, Dropout, Curve)):
            raise _refuse(op, "follows a Flatten", SUPPORTED)
        if isinstance(op, _POOLS) and self._graph.in_shapes[at][0][1:] == (1, 1):
            raise _refuse(op, "reads a map of one pixel", "leave it out")
        if isinstance(op, Add) and not isinstance(op, Copy) and len(sources) != 2:
            raise _refuse(op, f"adds {len(sources)} maps", "add two at a time")
        if isinstance(op, (BatchNorm, Add, GlobalAvgPool, Curve, Multiply)) and (
                FROM_INPUT in sources):
            raise _refuse(op, "follows the input", "begin with a convolution")

    def _finish(self, layer: _Open, places: dict[int, int]) -> FusedLayer:
        """Return a layer that is complete; ``places``: of layers, by their last operations."""
        op = self._graph.ops[layer.first]
        place = layer.reads[0]
        shape = map_shape(self._graph, place) or (
            self._graph.input_shape if place == FROM_INPUT else self._graph.shapes[place])
        reads = layer.reads
        if isinstance(op, Multiply):
            # The map comes first, the vector that scales it second.
            shapes = [self._graph.shapes[one] for one in reads]
            if shapes[0][1:] == (1, 1) != shapes[1][1:]:
                reads = reads[::-1]
            shape = self._graph.shapes[reads[0]]
        built = _layer(op, shape, layer.tail)
        if isinstance(op, Multiply):
            own = kinds.PRODUCT if shapes[0] == shapes[1] else kinds.SCALE
            built = replace(built, kind=own)
        if isinstance(op, (Conv, Dense)):
            built = replace(built, reads=self._picked(self._sources[layer.first][0]))
        if isinstance(op, PickChannels) and is_vector(self._graph, place):
            built = replace(built, kind=kinds.DENSE)
        if isinstance(op, Concat):
            whole = self._graph.shapes[layer.first]
            built = replace(built, kind=kinds.CONCAT, in_shape=whole, out_shape_before_pool=whole,
                            out_shape=whole)
        if isinstance(op, Dropout):
            built = replace(built, kind=kinds.DROP, drop=Drop(op.rate, self._dropouts[op.name]))
        return replace(built, sources=tuple(places[place] for place in reads))


def _layer(op: Op, shape: Shape, tail: list[Op]) -> FusedLayer:
    """Return the layer of an operation that reads a map of ``shape``, with ``tail`` behind it."""
    activation = next((extra.activation for extra in (op, *tail) if isinstance(extra, Activate)),
                      Activation.NONE)
    pools = [extra for extra in tail if isinstance(extra, _POOLS)]
    if isinstance(op, _POOLS):
        window = MaxPool(2, 2) if isinstance(op, MaxPool2x2) else op
        out = window.out_shape(shape)
        rows, cols = window.windows(shape)
        return FusedLayer(
            kind=kinds.POOL, name=op.name, in_shape=shape, out_shape_before_pool=out, out_shape=out,
            kernel=window.kernel_sides, stride=window.stride_sides, pad_top=rows.pad_before,
            pad_left=cols.pad_before)
    if isinstance(op, (Conv, AvgPool, PadChannels, PickChannels, Dense)):
        before = op.out_shape(shape) if not isinstance(op, Dense) else (op.units, 1, 1)
        layer = FusedLayer(
            kind=kinds.DENSE if isinstance(op, Dense) else kinds.CONV, name=op.name, in_shape=shape,
            out_shape_before_pool=before,
            out_shape=pools[0].out_shape(before) if pools else before,
            activation=activation, pool=bool(pools),
            bias=isinstance(op, (Conv, Dense)) and op.bias)
        if isinstance(op, PadChannels):
            copies = (-1,) * op.before + tuple(range(shape[0])) + (-1,) * op.after
            return replace(layer, average=True, copies=copies)
        if isinstance(op, PickChannels):
            return replace(layer, average=True, copies=op.channels)
        if isinstance(op, Dense):
            return layer
        rows, cols = op.windows(shape)
        return replace(
            layer, kernel=op.span_sides, stride=op.stride_sides, pad_top=rows.pad_before,
            pad_left=cols.pad_before, average=isinstance(op, AvgPool),
            dilation=op.dilation_sides if isinstance(op, Conv) else ONE,
            groups=op.groups if isinstance(op, Conv) else shape[0], scale=isinstance(op, Scale))
    if isinstance(op, ConvTranspose):
        out = op.out_shape(shape)
        rows, cols = op.windows(shape)
        return FusedLayer(
            kind=kinds.TRANSPOSE, name=op.name, in_shape=shape, out_shape_before_pool=out,
            out_shape=out, kernel=op.kernel_sides, stride=op.stride_sides, pad_top=rows.pad_before,
            pad_left=cols.pad_before, bias=op.bias, groups=op.groups)
    if isinstance(op, Upsample):
        out, factor = op.out_shape(shape), op.factor
        layer = FusedLayer(
            kind=kinds.UPSAMPLE, name=op.name, in_shape=shape, out_shape_before_pool=out,
            out_shape=out, kernel=Pair.of(factor), stride=Pair.of(factor), groups=shape[0],
            average=True)
        if op.corners:
            return replace(layer, kernel=Pair.of(2 * factor - 1), pad_top=factor - 1,
                           pad_left=factor - 1)
        if op.mode == "bilinear":
            taps = len(Pieces.of(*shape[1:], factor).weights)
            return replace(layer, kind=kinds.BILINEAR, kernel=Pair(1, taps))
        return layer
    layer = FusedLayer(kind=kinds.ADD, name=op.name, in_shape=shape, out_shape_before_pool=shape,
                       out_shape=shape, activation=activation)
    if isinstance(op, BatchNorm):
        return replace(layer, kind=kinds.NORM, bias=True, norm=Norm(op.momentum, op.eps, op.frozen))
    if isinstance(op, Curve):
        return replace(layer, kind=kinds.CURVE, curve=replace(op, name="", inputs=()))
    if isinstance(op, GroupNorm):
        return replace(layer, kind=kinds.GROUP_NORM,
                       norm=Norm(0, op.eps, False, shape[0] // op.groups))
    if isinstance(op, GlobalAvgPool):
        out = op.out_shape(shape)
        return replace(layer, kind=kinds.MEAN, out_shape_before_pool=out, out_shape=out)
    return layer


def _check_sums(layers: Sequence[FusedLayer]) -> None:
    """Check that no layer takes a vector and a map of one pixel, or the mean of a vector.

    A vector, the output of a dense layer or mean, is a dense map, which stands in memory otherwise:
    its columns are the images.

    Raises:
        UnsupportedModel: one does.
    """
    vectors: list[bool] = []
    for layer in layers:
        some = [place >= 0 and vectors[place] for place in layer.sources]
        if layer.kind.scales:
            if not some[1]:
                second = layers[layer.sources[1]].name
                raise UnsupportedModel(
                    f"layer {layer.name!r} scales the channels of a map",
                    expected="a vector: behind GlobalAvgPool, Dense or 1x1 convolutions of it",
                    found=f"{second}, a map of one pixel",
                    fix="make it by GlobalAvgPool, or by Flatten and Dense")
            some = some[:1]
        if layer.kind.wordwise and len(set(some)) > 1:
            names = [f"{layers[place].name} ({'vector' if vector else 'map'})"
                     for place, vector in zip(layer.sources, some)]
            raise UnsupportedModel(
                f"layer {layer.name!r} adds a vector and a map of one pixel",
                expected="two of one kind", found=" and ".join(names),
                fix="end both branches with Dense or GlobalAvgPool, or none of them")
        if layer.kind.reduces and some[0]:
            raise UnsupportedModel(
                f"layer {layer.name!r} is the mean of a vector", expected="a map before it",
                found=f"{layers[layer.sources[0]].name}, whose values are one pixel each",
                fix="leave it out: it changes nothing")
        vectors.append(layer.kind.to_vector or (layer.kind.wordwise and some[0]))


def _check_last(graph: Graph, layers: Sequence[FusedLayer]) -> None:
    """Check what any end of a network needs (:mod:`pynq_train.layers.ends`: what a loss needs).

    Raises:
        UnsupportedModel: nothing runs on the array, or a Dropout is the end.
    """
    if not any(layer.on_array for layer in layers):
        raise UnsupportedModel(f"network {graph.name!r} has no Conv or Dense layer",
                               fix="end with a Dense layer that yields the logits")
    if layers[-1].kind == kinds.DROP:
        raise UnsupportedModel(f"the last layer {layers[-1].name!r} must yield the outputs",
                               expected="no Dropout", found=graph.ops[-1].kind, fix="remove it")


def _is_nothing(op: Op) -> bool:
    """Return whether an operation is a dropout of rate 0."""
    return isinstance(op, Dropout) and op.rate == 0


def _refuse(op: Op, why: str, fix: str) -> UnsupportedModel:
    """Return the error for an operation that does not run where it stands."""
    return UnsupportedModel(f"operation {op.name!r} ({op.kind}) {why}, which is not supported",
                            fix=fix)
