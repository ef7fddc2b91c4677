"""Concatenations made a matter of placement: what stands in the way is rewritten.

The engine joins channels without moving them: every source writes its channel blocks straight into
the concat buffer. That needs sources of whole blocks, each in one concatenation alone, with nothing
but other layers behind it. This module takes a graph to one that computes the same and keeps that:

* Activations and max pooling behind a concatenation go in front of it, or behind a map of its own.
* A concatenation that begins or ends with the sources of another one (dense blocks) reads that one:
  a single map holds all.
* A source that is the input, that two concatenations share or whose exponent is not free is copied.
* Sources whose channels fill no whole blocks leave holes: channels of zeros. Who reads such a map
  reads a pick of the others (``layers.picks``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pynq_train.errors import UnsupportedModel
from pynq_train.graph.graph import Graph
from pynq_train.graph.joins import Add, Concat
from pynq_train.graph.ops import (
    Activate,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Curve,
    Dense,
    Flatten,
    MaxPool2x2,
    Op,
    PadChannels,
    PickChannels,
    Upsample,
)
from pynq_train.graph.shapes import Shape
from pynq_train.graph.wiring import INPUT
from pynq_train.hw.words import CHANNELS_PER_WORD, ceil_div
from pynq_train.layers.op_list import TAILS, OpList
from pynq_train.layers.picks import is_vector

_CONVOLUTIONS = (Conv, AvgPool, PadChannels)
"""Heads of layers that run as convolutions."""
_ENLARGING = (ConvTranspose, Upsample)
_FREE = (*_CONVOLUTIONS, PickChannels, *_ENLARGING, Dense, BatchNorm, Add, Concat, Curve)
"""Heads of layers whose output may have any exponent."""


@dataclass(frozen=True)
class Copy(Add):
    """The same map once more: a sum with one term. Made here only, never saved."""

    kind: ClassVar[str] = "copy"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)

    def out_shape(self, first: Shape, second: Shape | None = None) -> Shape:
        """Return ``first``."""
        return first


@dataclass(frozen=True)
class Spaced(Concat):
    """A concatenation whose sources begin at whole channel blocks. Made here only, never saved."""

    def out_shape(self, *shapes: Shape) -> Shape:
        """Return the shape with the channels of all inputs and the zeros between them."""
        blocks = sum(ceil_div(shape[0], CHANNELS_PER_WORD) for shape in shapes[:-1])
        return (blocks * CHANNELS_PER_WORD + shapes[-1][0], *shapes[0][1:])


def place_concats(graph: Graph) -> Graph:
    """Return a graph that computes the same and whose concatenations move no data.

    A graph without concatenations is returned as it is.

    Raises:
        UnsupportedModel: vectors and maps are joined.
    """
    if not any(isinstance(op, Concat) for op in graph.ops):
        return graph
    for stage in (_unflattened, _bare, _checked, _nested, _copied, _spaced):
        graph = stage(graph)
    return graph


def _unflattened(graph: Graph) -> Graph:
    """Return a graph that joins maps in front of their Flatten.

    Flattening keeps the order of channels, so joining before and after it gives the same values.
    """
    ops = OpList(graph)
    for op in list(ops.ops):
        op = next(one for one in ops.ops if one.name == op.name)
        if not isinstance(op, Concat):
            continue
        maps = tuple(_behind(ops, name) for name in op.inputs)
        if maps == op.inputs:
            continue
        sizes = [ops.shapes[name][1:] for name in maps]
        if len(set(sizes)) > 1:
            raise _refuse(op, "joins flattened maps", "maps with equal rows and columns",
                          " and ".join(f"{rows}x{cols}" for rows, cols in sizes),
                          "put a Dense layer or GlobalAvgPool on each branch")
        joined = replace(op, inputs=maps)
        # Maps of one pixel are vectors already.
        if sizes[0] == (1, 1):
            ops.put(op, joined)
            continue
        flat = Flatten(ops.new_name(f"{op.name}.flat"), (op.name,))
        ops.put(op, joined)
        ops.rename(op.name, flat.name)
        ops.put(ops.ops[[one.name for one in ops.ops].index(op.name)], joined, flat)
    # The branches' own Flattens may have lost their readers.
    read = {name for op in ops.ops for name in op.inputs}
    ops.ops = [op for op in ops.ops[:-1]
               if op.name in read or not isinstance(op, Flatten)] + ops.ops[-1:]
    return ops.finish()


def _behind(ops: OpList, name: str) -> str:
    """Return the name of what a value was flattened from, or ``name`` if it was not."""
    op = ops[name]
    while isinstance(op, Flatten):
        name = op.inputs[0]
        op = ops[name]
    return name


def _bare(graph: Graph) -> Graph:
    """Return a graph with nothing behind a concatenation that only a store path can do."""
    ops = OpList(graph)
    while True:
        found = next(((op, join) for op in ops.ops if isinstance(op, TAILS)
                      and isinstance(join := ops[op.inputs[0]], Concat)), None)
        if found is None:
            return ops.finish()
        op, join = found
        # Some source cannot take the operation, or somebody else reads the values in front of it: a
        # layer that only moves the map takes it instead.
        if ops.readers(join.name) > 1 or not all(_takes(ops, op, name) for name in join.inputs):
            whole: Op
            name = ops.new_name(f"{op.name}.map")
            if isinstance(op, Activate) and ops.shapes[join.name][1:] == (1, 1):
                whole = Copy(name, (join.name,))
            else:
                whole = AvgPool(1, 1, 0, name, (join.name,))
            ops.put(op, whole, replace(op, inputs=(name,)))
            continue
        # All sources can: each does it by itself, and the concatenation joins the results.
        moved = tuple(replace(op, name=ops.new_name(f"{op.name}.{at}"), inputs=(name,))
                      for at, name in enumerate(join.inputs))
        ops.ops.remove(op)
        ops.put(join, *moved, replace(join, inputs=tuple(one.name for one in moved)))
        ops.rename(op.name, join.name)


def _takes(ops: OpList, op: Op, name: str) -> bool:
    """Return whether the layer of ``name`` can end with ``op``, and nobody else reads it."""
    head, tail = ops.head(name)
    if ops.readers(name) != 1 or any(ops.readers(one.inputs[0]) != 1 for one in tail):
        return False
    if isinstance(op, MaxPool2x2):
        return isinstance(head, (*_CONVOLUTIONS, PickChannels)) and not any(
            isinstance(one, MaxPool2x2) for one in tail)
    return (isinstance(head, (*_CONVOLUTIONS, PickChannels, Dense, BatchNorm, Add))
            and not any(isinstance(one, Activate) for one in tail))


def _checked(graph: Graph) -> Graph:
    """Return the graph as it is.

    Raises:
        UnsupportedModel: a concatenation joins what cannot stand in one buffer.
    """
    for op, places in zip(OpList(graph).ops, graph.sources):
        if not isinstance(op, Concat):
            continue
        vectors = [name for name, place in zip(op.inputs, places) if is_vector(graph, place)]
        if vectors and len(vectors) < len(op.inputs):
            others = [name for name in op.inputs if name not in vectors]
            raise _refuse(op, "joins vectors with maps of one pixel", "all of one kind",
                          f"{', '.join(vectors)} (vector) and {', '.join(others)} (map)",
                          "end every branch with Dense or GlobalAvgPool, or none of them")
    return graph


def _nested(graph: Graph) -> Graph:
    """Return a graph whose concatenations read others whose sources stand among theirs, in order.

    In a dense block each concatenation begins with the sources of the one before. Nested, one
    buffer holds all of them, and no source is copied.
    """
    ops = OpList(graph)
    leaves: dict[str, tuple[str, ...]] = {}
    for name in [op.name for op in ops.ops]:
        op = next(one for one in ops.ops if one.name == name)
        if not isinstance(op, Concat):
            continue
        # Compared by leaves, so that one nested otherwise is found as well.
        own = tuple(leaf for one in op.inputs for leaf in leaves.get(one, (one,)))
        parts = _cover(own, leaves)
        if len(parts) > 1:
            leaves[name] = own
            ops.put(op, replace(op, inputs=parts))
        elif op is not ops.ops[-1]:
            ops.ops.remove(op)
            ops.rename(name, parts[0])
    return ops.finish()


def _cover(own: tuple[str, ...], known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return names whose leaves are ``own``: at every place the longest of the known ones.

    ``known``: by name of a concatenation, all its leaves, inner concatenations resolved.
    """
    parts: list[str] = []
    at = 0
    while at < len(own):
        fits = [name for name, some in known.items() if own[at:at + len(some)] == some]
        best = max(fits, key=lambda name: len(known[name]), default=None)
        parts.append(own[at] if best is None else best)
        at += 1 if best is None else len(known[best])
    return tuple(parts)


def _copied(graph: Graph) -> Graph:
    """Return a graph with copies of sources that cannot be written into the concat buffer."""
    ops = OpList(graph)
    taken: set[str] = set()
    for op in list(ops.ops):
        if not isinstance(op, Concat):
            continue
        sources: list[str] = []
        copies: list[Op] = []
        for name in op.inputs:
            head, tail = ops.head(name)
            # Max pooling that is no part of a convolution keeps the exponent of what it reads.
            pools = sum(isinstance(one, MaxPool2x2) for one in tail)
            fused = pools == 1 and all(ops.readers(one.inputs[0]) == 1 for one in tail)
            free = isinstance(
                head, (*_CONVOLUTIONS, PickChannels) if pools else _FREE) and fused == bool(pools)
            if name != INPUT and name not in taken and free:
                # A second concatenation would need it at a second place.
                taken.add(name)
                sources.append(name)
                continue
            own = ops.new_name(f"{op.name}.copy{len(copies) + 1}")
            # The images stand as the host packs them: only the array reads them at any step.
            copies.append(AvgPool(1, 1, 0, own, (name,)) if name == INPUT else Copy(own, (name,)))
            sources.append(own)
        ops.put(op, *copies, replace(op, inputs=tuple(sources)))
    return ops.finish()


def _spaced(graph: Graph) -> Graph:
    """Return a graph whose concatenations have holes where sources fill no whole blocks.

    Behind such a concatenation stands a pick of its own channels, which all but other
    concatenations read.
    """
    ops = OpList(graph)
    lanes: dict[str, tuple[int, ...]] = {}
    for name in [op.name for op in ops.ops]:
        op = ops[name]
        if not isinstance(op, Concat):
            continue
        own: list[int] = []
        first = 0
        for source in op.inputs:
            inner = lanes.get(source) or tuple(range(ops.shapes[source][0]))
            own += [first + lane for lane in inner]
            first += CHANNELS_PER_WORD * ceil_div(inner[-1] + 1, CHANNELS_PER_WORD)
        lanes[name] = tuple(own)
        if own == list(range(len(own))):
            continue
        picked = PickChannels(tuple(own), ops.new_name(f"{name}.picked"), (name,))
        last = op is ops.ops[-1]
        readers = [one for one in ops.ops if name in one.inputs and not isinstance(one, Concat)]
        ops.put(op, Spaced(name, op.inputs), *([picked] if readers or last else []))
        for one in readers:
            ops.put(one, replace(one, inputs=tuple(picked.name if read == name else read
                                                   for read in one.inputs)))
    return ops.finish()


def _refuse(op: Op, why: str, expected: str, found: str, fix: str) -> UnsupportedModel:
    """Return the error for a concatenation that cannot be placed."""
    return UnsupportedModel(f"operation {op.name!r} ({op.kind}) {why}", expected=expected,
                            found=found, fix=fix)
