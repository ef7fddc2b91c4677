"""A network in blocks that are trained apart: each is a network of its own, with a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pynq_train.errors import BadInput, UnknownName, UnsupportedModel
from pynq_train.fleet.block_training.heads import HEADS, head_ops
from pynq_train.fleet.cut import Cut, legal_edges
from pynq_train.graph import Graph, Model, zoo
from pynq_train.graph.ops import Flatten, Op
from pynq_train.graph.wiring import FROM_INPUT, INPUT
from pynq_train.layers.fuse import edges, fuse
from pynq_train.layers.init import param_specs, parameter_count

_HEAD = "head"
"""What the names of a head's operations begin with."""


@dataclass(frozen=True)
class Block:
    """A part of a network that is trained by a loss of its own.

    Attributes:
        number: position of the block, from 0.
        graph: the block and its head: a network with the classes of the whole.
        after: operation whose map goes to the next block; empty for the last one.
        head: name of the head; empty for the last block, which ends as the whole network does.
        own: names of the operations that are the whole network's.
    """

    number: int
    graph: Graph
    after: str
    head: str
    own: frozenset[str]

    @property
    def head_parameters(self) -> int:
        """Values that a training updates in the head alone."""
        return sum(spec.learned for spec in param_specs(self.graph) if spec.name not in self.own)

    @property
    def parameters(self) -> int:
        """Values that a training updates in the block, without the head."""
        return parameter_count(self.graph) - self.head_parameters

    @property
    def layer(self) -> int | None:
        """Position of the layer that makes the map for the next block; None for the last one."""
        return edges(self.graph)[self.after].layer if self.after else None


def blocks(model: Graph | Model | str, after: Sequence[str], *,
           head: str | Sequence[str] = "conv") -> tuple[Block, ...]:
    """Return a network in blocks, each but the last with a head; nothing is trained yet.

    Args:
        model: a graph, a model (its weights do not matter), or the name of a network.
        after: names of the operations behind which a block ends, in any order.
        head: ``dense`` (global average pooling and a dense layer), ``pooled`` (2x2 average
            pooling and a dense layer), ``conv`` (two 3x3 convolutions of stride 2 and a dense
            layer), ``mlp`` (1x1 convolutions on a pooled map and dense layers: the MLP-SR of
            decoupled greedy learning); or one for each cut, in the order of the network.

    Raises:
        UnknownName: no such network, operation or head; the text lists them.
        BadInput: a block cannot end there, or a map is too small for its head; or the network has
            no classes.
        UnsupportedModel: the engine does not run the network.
    """
    graph = model.graph if isinstance(model, Model) else model
    graph = zoo.get(graph) if isinstance(graph, str) else graph
    if not isinstance(graph, Graph):
        raise BadInput("model", expected="a Graph, a Model or the name of a network",
                       found=type(graph).__name__)
    if graph.classes < 2:
        raise BadInput(f"network {graph.name!r}: classes", expected="2 or more",
                       found=graph.classes, fix="end it with a Dense layer of one unit per class")
    cut = Cut.of(graph, after)
    heads = [head] * (cut.count - 1) if isinstance(head, str) else list(head)
    if len(heads) != cut.count - 1:
        raise BadInput("head", expected=f"one name, or {cut.count - 1}, one for each cut",
                       found=f"{len(heads)}: {', '.join(map(str, heads))}")
    for name in heads:
        if name not in HEADS:
            raise UnknownName.among("head", name, HEADS)
    found = _blocks(graph, cut, heads)
    if isinstance(found, tuple):
        return found
    legal = block_edges(graph)
    raise BadInput(f"a block of {graph.name!r} that {found.where}", expected=found.expected,
                   found=found.found, fix="end blocks after " + (
                       ", ".join(legal) if legal else
                       "none of its operations: it has no such place"))


def block_edges(graph: Graph) -> tuple[str, ...]:
    """Return the operations behind which a block can end, with some head.

    One map crosses there, and the engine runs what follows as a network of its own.

    Raises:
        UnsupportedModel: the engine does not run the network.
    """
    return tuple(name for name in legal_edges(graph) if isinstance(
        _blocks(graph, Cut.of(graph, [name]), [HEADS[0]]), tuple))


@dataclass(frozen=True)
class _Refusal:
    """Why blocks cannot end where they were wanted to: parts of a message."""

    where: str
    expected: str
    found: str


def _blocks(graph: Graph, cut: Cut, heads: Sequence[str]) -> tuple[Block, ...] | _Refusal:
    """Return the blocks of a cut network, or why it has none there; ``heads``: one for each cut."""
    owner = _owners(graph, cut)
    ends = [_made_by(graph, name) for name in cut.after]
    crossing = _crossing(graph, owner, ends)
    if crossing is not None:
        number, place, reader = crossing
        return _Refusal(f"ends after {cut.after[number]!r}",
                        "one map that goes on, that of the cut",
                        f"{graph.name_at(place)!r}, which {graph.ops[reader].name!r} reads")
    made = []
    for number, head in enumerate([*heads, ""]):
        block = _block(graph, number, owner, ends, head)
        try:
            fuse(block.graph)
        except UnsupportedModel as error:
            if not number:
                raise
            return _Refusal(f"begins after {cut.after[number - 1]!r}", "layers that the engine "
                            "runs as a network", str(error).partition(";")[0])
        made.append(block)
    return tuple(made)


def _made_by(graph: Graph, name: str) -> int:
    """Return the position of the operation whose map an edge has; flattening only renames it."""
    place = next(at for at, op in enumerate(graph.ops) if op.name == name)
    while isinstance(graph.ops[place], Flatten):
        place = graph.sources[place][0]
    return place


def _owners(graph: Graph, cut: Cut) -> list[int]:
    """Return the block of each operation; a flattening belongs to who reads it."""
    known = edges(graph)
    # What moves channels of the network's input has no layer.
    owner = [cut.segment_of(known[op.name].layer) if op.name in known else 0 for op in graph.ops]
    for at in reversed(range(len(graph.ops))):
        readers = [owner[reader] for reader, sources in enumerate(graph.sources) if at in sources]
        if isinstance(graph.ops[at], Flatten) and readers:
            owner[at] = min(readers)
    return owner


def _crossing(graph: Graph, owner: Sequence[int], ends: Sequence[int]
              ) -> tuple[int, int, int] | None:
    """Return what crosses a cut beside its map: number of the cut, place, and who reads it."""
    for reader, sources in enumerate(graph.sources):
        for place in sources:
            maker = 0 if place == FROM_INPUT else owner[place]
            if owner[reader] == maker or (owner[reader] == maker + 1 and place == ends[maker]):
                continue
            number = next((at for at in range(maker, owner[reader]) if place != ends[at]), maker)
            return number, place, reader
    return None


def _block(graph: Graph, number: int, owner: Sequence[int], ends: Sequence[int], head: str
           ) -> Block:
    """Return one block of a network whose cuts only their maps cross."""
    places = [at for at, own in enumerate(owner) if own == number]
    shape = graph.shapes[ends[number - 1]] if number else graph.input_shape
    ops: list[Op] = []
    for at in places:
        reads = tuple(graph.name_at(place) if place != FROM_INPUT and owner[place] == number
                      else INPUT for place in graph.sources[at])
        before = ops[-1].name if ops else INPUT
        ops.append(replace(graph.ops[at], inputs=() if reads == (before,) else reads))
    own = frozenset(op.name for op in ops)
    name = f"{graph.name}.block{number}"
    if number == len(ends):
        return Block(number, Graph.build(shape, ops, name), "", "", own)
    end, prefix = graph.ops[ends[number]].name, _HEAD
    while any(op.name.startswith(f"{prefix}.") for op in ops):
        prefix += "_"
    added = head_ops(head, graph.shapes[ends[number]], graph.classes, prefix,
                     f"block {number} of {graph.name!r}, after {end!r}")
    if ops[-1].name != end:
        added[0] = replace(added[0], inputs=(end,))
    made = Graph.build(shape, [*ops, *added], name)
    return Block(number, made, end, head, own)
