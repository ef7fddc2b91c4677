"""Where a network is cut, and which tensors go from segment to segment then.

A cut stands behind a fused layer: segments are runs of layers in the order in which the engine
runs them. Nothing of the network changes. Layers, exponents and the backward graph stay those of
the whole; each descriptor of a training step goes to one segment, and a tensor that one segment
makes and another reads travels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph
from pynq_train.layers import nodes
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.layers.fuse import FusedLayer, edges, fuse
from pynq_train.layers.kinds import ADD
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.passes.symbols import gradient_symbol, output_symbol
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.concat_buffer import concat_views

_FROM_GRADIENT = frozenset({Role.BACKWARD, Role.WEIGHT_GRADIENT, Role.BIAS_SUMS})


@dataclass(frozen=True)
class Cut:
    """A network in segments.

    Attributes:
        graph: the network.
        layers: its fused layers.
        after: operations behind which it is cut, in order.
        ends: by segment: position behind its last layer.
    """

    graph: Graph
    layers: tuple[FusedLayer, ...]
    after: tuple[str, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph, after: Sequence[str]) -> Cut:
        """Return a network cut behind some operations, which may be named in any order.

        Args:
            graph: the network.
            after: names of operations; none: one segment.

        Raises:
            UnknownName: there is no such operation; the text lists where the network can be cut.
            BadInput: it cannot be cut there; the text says why.
            UnsupportedModel: the engine does not run the network.
        """
        if isinstance(after, str) or not all(isinstance(name, str) for name in after):
            raise BadInput("after", expected="a list of names of operations",
                           found=repr(after)[:80])
        layers, known = fuse(graph), edges(graph)
        open_at, logits_from = _open_joins(layers), _logits_from(layers)
        legal = [name for name, edge in known.items() if edge.end == name
                 and edge.layer < logits_from and edge.layer not in open_at]
        places: dict[int, str] = {}
        for name in after:
            if name not in known:
                raise UnknownName.among("edge", name, legal)
            edge = known[name]
            what = f"a cut of {graph.name!r} after {name!r}"
            if edge.end != name:
                raise BadInput(what, expected="an operation whose map the engine writes to memory",
                               found=f"one that runs together with {edge.end!r}",
                               fix=f"cut after {edge.end!r}")
            if edge.layer == len(layers) - 1:
                raise BadInput(what, expected="layers on both sides",
                               found="none behind it: it yields the logits",
                               fix="cut after one of " + ", ".join(legal))
            if edge.layer >= logits_from:
                raise BadInput(what, expected="all layers whose sum the logits are in one segment: "
                               "the loss makes one gradient for them",
                               found=f"{layers[logits_from].name!r} in front of it",
                               fix="cut after one of " + ", ".join(legal))
            if edge.layer in open_at:
                raise BadInput(what, expected="no concatenation across it: its sources stand in "
                               "one map and share an exponent",
                               found=f"sources of {open_at[edge.layer]!r} on both sides",
                               fix="cut after one of " + ", ".join(legal))
            if edge.layer in places:
                raise BadInput(what, expected="each cut once",
                               found=f"also after {places[edge.layer]!r}, where the same map ends",
                               fix="leave one of them out")
            places[edge.layer] = name
        order = sorted(places)
        return cls(graph, layers, tuple(places[at] for at in order),
                   (*(at + 1 for at in order), len(layers)))

    @property
    def count(self) -> int:
        """Number of segments."""
        return len(self.ends)

    def segment_of(self, layer: int) -> int:
        """Return the segment of a layer."""
        return bisect_left(self.ends, layer + 1)

    def layers_of(self, segment: int) -> range:
        """Return the positions of the layers of a segment."""
        return range(self.ends[segment - 1] if segment else 0, self.ends[segment])


def legal_edges(graph: Graph) -> tuple[str, ...]:
    """Return the operations behind which a network can be cut, one for each place, in order.

    Raises:
        UnsupportedModel: the engine does not run the network.
    """
    layers = fuse(graph)
    open_at, logits_from = _open_joins(layers), _logits_from(layers)
    found: dict[int, str] = {}
    for name, edge in edges(graph).items():
        if edge.end == name and edge.layer < logits_from and edge.layer not in open_at:
            found.setdefault(edge.layer, name)
    return tuple(found[at] for at in sorted(found))


def _logits_from(layers: Sequence[FusedLayer]) -> int:
    """Return the first layer that makes the logits or a part of the sum that they are."""
    last = len(layers) - 1
    return min(layers[last].sources) if layers[last].kind is ADD else last


def _open_joins(layers: Sequence[FusedLayer]) -> dict[int, str]:
    """Return the layers behind which a concat buffer is half written, with the buffer's name."""
    return {at: layers[view.holder].name for place, view in concat_views(layers).items()
            for at in range(place, view.holder)}


@dataclass(frozen=True)
class Carried:
    """A tensor that goes from the segment that makes it to others that read it.

    Attributes:
        symbol: its symbol in the arenas of all of them.
        layer: position of the layer whose output it is, or whose output it is the gradient of;
            of flags the layer that they belong to.
        kind: ``map``, ``gradient map`` or ``flags``.
        maker: segment that makes it.
        readers: segments that read it.
    """

    symbol: str
    layer: int
    kind: str
    maker: int
    readers: frozenset[int]


@dataclass(frozen=True)
class Routes:
    """Which segment does what of a plan, and what travels.

    Attributes:
        forward: maps of a training step's forward half.
        backward: gradients, and flags through which they are read.
        evaluate: maps of an evaluation.
        nodes: segment of each node of the backward graph.
    """

    forward: tuple[Carried, ...]
    backward: tuple[Carried, ...]
    evaluate: tuple[Carried, ...]
    nodes: tuple[int, ...]

    @classmethod
    def of(cls, plan: Plan, cut: Cut) -> Routes:
        """Return the routes of a plan of the whole network."""
        found = _BackwardRoutes(plan, cut)
        return cls(_maps(plan, cut, plan.sources), found.carried(),
                   _maps(plan, cut, plan.evaluation_sources), tuple(found.segment))

    def segment(self, cut: Cut, descriptor: Descriptor) -> int:
        """Return the segment that a descriptor belongs to."""
        if descriptor.node >= 0:
            return self.nodes[descriptor.node]
        return cut.segment_of(descriptor.layer)

    def incoming(self, half: str, segment: int) -> tuple[Carried, ...]:
        """Return what a segment takes from others; ``half``: one of the attributes."""
        carried: tuple[Carried, ...] = getattr(self, half)
        return tuple(one for one in carried if segment in one.readers)

    def outgoing(self, half: str, segment: int) -> tuple[Carried, ...]:
        """Return what a segment gives to others; ``half``: one of the attributes."""
        carried: tuple[Carried, ...] = getattr(self, half)
        return tuple(one for one in carried if one.maker == segment)


def is_forward(descriptor: Descriptor) -> bool:
    """Return whether a descriptor belongs to the forward half of a step, or is the loss."""
    return descriptor.role.forward


def _maps(plan: Plan, cut: Cut, sources: Iterable[tuple[int, ...]]) -> tuple[Carried, ...]:
    """Return the maps that later segments read."""
    readers: dict[int, set[int]] = {}
    for at, places in enumerate(sources):
        reader = cut.segment_of(at)
        for place in places:
            if place >= 0 and cut.segment_of(place) != reader:
                readers.setdefault(place, set()).add(reader)
    return tuple(Carried(output_symbol(plan, place), place, "map", cut.segment_of(place),
                         frozenset(found)) for place, found in sorted(readers.items()))


class _BackwardRoutes:
    """Gives each node of the backward graph to a segment, and finds who reads what.

    A node through a layer runs with the layer. A sum or copy of gradients of a layer's output runs
    where the last of them is made, so that one map travels and not each of them; but not so the
    parts of a concat buffer's gradient, which stand in it.

    Attributes:
        segment: by number of the node.
    """

    def __init__(self, plan: Plan, cut: Cut) -> None:
        self._plan, self._cut = plan, cut
        graph = plan.backward_graph
        self._views = {node.target: node.reads[0].tensor for node in graph.nodes
                       if node.kind == nodes.VIEW}
        self._owner = {DLOGITS: len(plan.specs) - 1}
        self._maker = {DLOGITS: cut.count - 1}
        in_buffer = concat_views(plan.layers)
        self.segment: list[int] = []
        for node in graph.nodes:
            own = cut.segment_of(node.layer)
            if node.kind.of_output and node.layer not in in_buffer:
                own = min(self._maker[self._whole(ref.tensor)] for ref in node.reads)
                own = min([own, *(cut.segment_of(ref.mask) for ref in node.reads
                                  if ref.mask is not None)])
            self.segment.append(own)
            if node.target:
                layer = (plan.sources[node.layer][node.input] if node.kind.through
                         else node.layer)
                self._owner.setdefault(node.target, layer)
                self._maker[node.target] = own

    def carried(self) -> tuple[Carried, ...]:
        """Return the gradients and flags that go to other segments."""
        plan, cut = self._plan, self._cut
        readers: dict[tuple[str, int, str, int], set[int]] = {}

        def read(segment: int, tensor: str, mask: int | None) -> None:
            whole = self._whole(tensor)
            tensors = [(whole, self._owner[whole], "gradient map", self._maker[whole])]
            if mask is not None:
                name = plan.specs[mask].name
                tensors.append((f"{name}.flags", mask, "flags", cut.segment_of(mask)))
            for one in tensors:
                if one[-1] != segment:
                    readers.setdefault(one, set()).add(segment)

        for descriptor in plan.train:
            if descriptor.node >= 0:
                for ref in plan.backward_graph.nodes[descriptor.node].reads:
                    read(self.segment[descriptor.node], ref.tensor, ref.mask)
            elif descriptor.role in _FROM_GRADIENT:
                tensor = gradient_symbol(plan, descriptor.layer)
                read(cut.segment_of(descriptor.layer), tensor, None)
        return tuple(Carried(*one, frozenset(found)) for one, found in readers.items())

    def _whole(self, tensor: str) -> str:
        """Return the tensor that a view of a concat buffer's gradient is a part of."""
        while tensor in self._views:
            tensor = self._views[tensor]
        return tensor
