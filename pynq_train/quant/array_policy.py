"""The exponent policy for the training step: the same integers in less time.

:class:`~pynq_train.quant.policy.ExponentPolicy` says what the exponents are; tests compare both on
random networks. Ranges are measured for all tensors at once, and few of them change the largest of
their history. So the histories are one array, and of the exponents those alone are computed anew
that follow from what has changed.

Layers and nodes of the backward graph are numbered as in the network. What is asked for in a step
is a *place*: of a layer, or, behind the layers, of a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pynq_train.hw.curves import SLOPE_EXPONENT
from pynq_train.layers import kinds, nodes
from pynq_train.layers.backward_graph import DLOGITS, BackwardGraph, BackwardNode
from pynq_train.quant import policy as rules
from pynq_train.quant.policy import ExponentPolicy, QuantLayer, keep_scale, mean_scale

Ints = NDArray[np.int64]
History = int | str
"""A history: the number of the layer whose output it is of, or the name of something else,
``<layer>.a``, ``<layer>.b``, a gradient."""
ArrayState = tuple[Ints, int]
"""A copy of the state; see :class:`ArrayPolicy`."""
_NONE = -(1 << 20)
"""A range that was not measured."""
NO_GRADIENT = -(1 << 30)
"""In place of the exponent of a gradient that nobody asks for, where it must not count."""


_PARTS = ("x", "second", "w", "y", "dy", "dx", "w_next", "total", "behind", "sums", "gradients")
"""Parts of the vector of exponents, in order."""


class Exponents:
    """Exponents of one training step, as integers side by side.

    Attributes:
        vector: all of them, and a 0 at :attr:`zero`; the others are parts of it.
        x, second, w, y, dy, dx, w_next, total: of each layer, as in ``LayerExponents``
            (``total``: of the forward sums).
        behind: ``dx``, and :data:`NO_GRADIENT` where there is none.
        sums: of the sums behind each node.
        gradients: of what each node writes; one more element for the gradient of the logits.
        zero: where the 0 stands.
        version: another number when something has changed.
    """

    def __init__(self, layers: int, graph: int) -> None:
        sizes = [layers] * 9 + [graph, graph + 1]
        starts = [sum(sizes[:at]) for at in range(len(sizes))]
        self._starts = dict(zip(_PARTS, starts))
        self.zero = sum(sizes)
        self.vector = np.zeros(self.zero + 1, np.int64)
        (self.x, self.second, self.w, self.y, self.dy, self.dx, self.w_next, self.total,
         self.behind, self.sums, self.gradients) = (
            self.vector[start : start + size] for start, size in zip(starts, sizes))
        self.behind[:] = NO_GRADIENT
        self.version = 0

    def places(self, part: str, numbers: Sequence[int]) -> list[int]:
        """Return where elements of a part stand in the vector."""
        return [self._starts[part] + number for number in numbers]


def handles(policy: ExponentPolicy) -> bool:
    """Return whether a policy's network can be computed in arrays: it joins no maps.

    The sources of a concatenation share an exponent that is found in rounds.
    """
    return not any(layer.kind.joins for layer in policy.layers)


def gradient_places(graph: BackwardGraph) -> tuple[dict[str, int], list[list[int]]]:
    """Return which node has written each gradient last, and what each node reads.

    Nodes are numbered; the number behind the last one is that of the gradient of the logits.
    """
    last = {DLOGITS: len(graph.nodes)}
    reads: list[list[int]] = []
    for number, node in enumerate(graph.nodes):
        reads.append([last[ref.tensor] for ref in node.reads])
        if node.target:
            last[node.target] = number
    return last, reads


class ArrayPolicy:
    """The state of a policy, and the exponents that follow from it.

    Args:
        policy: the policy; :meth:`store` writes the present state back to it.
        batch: images of the mini-batch.
        measured: the histories that :meth:`observe` gets a range of, in its order. One that comes
            more than once stands behind all others again.
        weights: layers whose weights :meth:`observe` gets a range of, likewise.

    Attributes:
        exponents: those of the last :meth:`settle`.
    """

    def __init__(self, policy: ExponentPolicy, batch: int, measured: Sequence[History] = (),
                 weights: Sequence[int] = ()) -> None:
        self._batch = batch
        self._layers, self._graph = policy.layers, policy.backward_graph.nodes
        layers, graph, count = self._layers, self._graph, len(self._layers)
        self._first = len(dict.fromkeys(measured))  # histories that are measured
        known: list[History] = [*measured, *range(count), *(f"{one.name}.dy" for one in layers)]
        known += [f"{one.name}.a" for one in layers if one.kind.normalises]
        known += [f"{layers[node.layer].name}.b" for node in graph if node.kind == nodes.NORM]
        known += [node.target for node in graph if node.target and not node.kind.copies]
        self._column = {key: at for at, key in enumerate(dict.fromkeys(known))}
        self._again = [self._column[key] for key in measured[self._first :]]
        if [self._column[key] for key in measured[: self._first]] != [*range(self._first)]:
            raise ValueError("measured histories: expected each once before any comes again")
        # The weights that are measured come first here, too.
        self._learning = len(weights)
        order = [*weights, *(at for at in range(count) if at not in set(weights))]
        self._weight_order = np.array(order, np.intp)
        size = len(self._column)
        self._range_of_weight, self._copy_of_weight = (
            {layer: start + at for at, layer in enumerate(order)}
            for start in (size, size + count))
        # All in one array, which is copied before each step. Behind the histories: the largest
        # range of each; ranges of weights; exponents of their copies.
        self._words = np.empty((rules.HISTORY_STEPS + 1) * size + 2 * count, np.int64)
        self._now = self._words[rules.HISTORY_STEPS * size :]
        self._histories = self._words[: rules.HISTORY_STEPS * size].reshape(-1, size)
        self._rows = [row[: self._first] for row in self._histories]
        self._before, self._differs = self._now.copy(), np.empty(len(self._now), bool)
        self._largest = self._now[:size]
        self._weight_k, self._w16 = self._now[size : size + count], self._now[size + count :]
        self._learnt_k, self._learnt_w16 = (one[: self._learning]
                                            for one in (self._weight_k, self._w16))
        self._forward_tables()
        self._backward_tables(policy.backward_graph)
        self.load(policy)

    # -- tables ----------------------------------------------------------------------------------

    def _forward_tables(self) -> None:
        layers, count = self._layers, len(self._layers)
        self._sources = [[count if at < 0 else at for at in layer.sources] for layer in layers]
        self._most = [_most(layer) for layer in layers]
        self._less = [mean_scale(layer.pixels)[1] if layer.kind.reduces else
                      keep_scale(layer.rate)[1] if layer.kind == kinds.DROP else
                      -SLOPE_EXPONENT if layer.kind == kinds.CURVE else 0
                      for layer in layers]
        self._coefficient = [self._column[f"{layer.name}.a"] if layer.kind.normalises else -1
                             for layer in layers]
        # By what has changed: the places to look at.
        self._ask: list[list[int]] = [[] for _ in self._now]
        self._readers: list[list[int]] = [[] for _ in range(count + 1)]
        for at, layer in enumerate(layers):
            self._ask[self._column[at]].append(at)
            self._ask[self._range_of_weight[at]].append(at)
            self._ask[self._copy_of_weight[at]].append(at)
            if layer.kind.normalises:
                self._ask[self._coefficient[at]].append(at)
            for source in self._sources[at]:
                self._readers[source].append(at)

    def _backward_tables(self, whole: BackwardGraph) -> None:
        layers, graph, count = self._layers, self._graph, len(self._layers)
        last, self._reads = gradient_places(whole)
        self._less_back = [
            mean_scale(layers[node.layer].pixels)[1] if node.kind == nodes.SPREAD else
            keep_scale(layers[node.layer].rate)[1] if node.kind == nodes.DROP else
            -SLOPE_EXPONENT if node.kind == nodes.CURVE else 0
            for node in graph]
        self._wanted = [self._column[node.target] if node.target and not node.kind.copies else -1
                        for node in graph]
        self._offset = [self._column[f"{layers[node.layer].name}.b"]
                        if node.kind == nodes.NORM else -1 for node in graph]
        # Behind each node, and behind the gradient of the logits: nodes that read what it writes,
        # layers whose output's gradient that is.
        self._nodes_behind: list[list[int]] = [[] for _ in range(len(graph) + 1)]
        self._dy_behind: list[list[int]] = [[] for _ in range(len(graph) + 1)]
        self._weighted: list[list[int]] = [[] for _ in layers]  # nodes that multiply by w
        for number, node in enumerate(graph):
            place = count + number
            for read in self._reads[number]:
                self._nodes_behind[read].append(place)
            for asked in (self._wanted[number], self._offset[number]):
                if asked >= 0:
                    self._ask[asked].append(place)
            if node.kind in (nodes.BACKWARD, nodes.NORM, nodes.PRODUCT, nodes.FACTOR):
                self._weighted[node.layer].append(place)
        for at in range(count):
            ref = whole.of_layer.get(at)
            if ref is not None:
                self._dy_behind[last[ref.tensor]].append(at)

    # -- state -----------------------------------------------------------------------------------

    def load(self, policy: ExponentPolicy) -> None:
        """Take the state of a policy, which is one of the same network."""
        self._policy, count = policy, len(self._layers)
        # The newest range of each history stands in the last row, the next one goes to the first.
        self._row = 0
        self._histories.fill(_NONE)
        for column, history in self._lists():
            if history:
                self._histories[-len(history) :, column] = history
        self._weight_k[:] = np.take(policy.weight_k, self._weight_order)
        self._w16[:] = np.take(policy.w16, self._weight_order)
        self._inputs = [0] * count + [policy.input_exponent]
        self._ceilings = [rules.FEATURE_CEILING] * count
        self._ceilings[-1] = policy.loss.logits_ceiling(self._batch)
        self._anew()

    def _anew(self) -> None:
        """Compute all exponents the next time."""
        self.exponents: Exponents = Exponents(len(self._layers), len(self._graph))
        self._known: list[int] | None = None

    def _lists(self) -> Iterator[tuple[int, list[int]]]:
        """Yield column and list of each history."""
        policy = self._policy
        gradients = {f"{layer.name}.dy": at for at, layer in enumerate(self._layers)}
        for key, column in self._column.items():
            if isinstance(key, int):
                yield column, policy.feature[key]
            elif key in gradients:
                yield column, policy.gradient[gradients[key]]
            else:
                yield column, policy.extra.get(key, [])

    def store(self) -> None:
        """Write the present state to the policy's lists."""
        policy, steps = self._policy, rules.HISTORY_STEPS
        # Histories that are not measured stand as they were taken over.
        oldest = np.where(np.arange(len(self._column)) < self._first, self._row, 0)
        order = (oldest[None, :] + np.arange(steps)[:, None]) % steps
        ordered = np.take_along_axis(self._histories, order, 0).T.tolist()
        lists = {key: [value for value in ordered[column] if value != _NONE]
                 for key, column in self._column.items()}
        policy.feature[:] = [lists.pop(at) for at in range(len(self._layers))]
        policy.gradient[:] = [lists.pop(f"{layer.name}.dy") for layer in self._layers]
        targets = {node.target for node in self._graph if not node.kind.copies}
        for name, history in lists.items():
            assert isinstance(name, str)
            if history or name in policy.extra or name in targets:
                policy.extra[name] = history
        for at, layer in enumerate(self._weight_order.tolist()):
            policy.weight_k[layer] = int(self._weight_k[at])
            policy.w16[layer] = int(self._w16[at])

    def state(self) -> ArrayState:
        """Return a copy of the present state."""
        return self._words.copy(), self._row

    def take_back(self, state: ArrayState) -> None:
        """Go back to a state."""
        self._words[:], self._row = state
        self._anew()

    # -- exponents -------------------------------------------------------------------------------

    def settle(self) -> Exponents:
        """Return the exponents of the next training step."""
        np.maximum.reduce(self._histories, axis=0, out=self._largest)
        if self._known is None:
            self._known = self._now.tolist()
            self._flags = bytearray(b"\1") * (len(self._layers) + len(self._graph))
            self._had: list[tuple[int, ...] | None] = [None] * len(self._flags)
            self._written: list[int] = [0] * (len(self._graph) + 1)
            self._settle()
        else:
            np.not_equal(self._now, self._before, out=self._differs)
            changed = self._differs.nonzero()[0].tolist()
            if not changed:
                return self.exponents
            for at in changed:
                self._known[at] = self._now.item(at)
                for place in self._ask[at]:
                    self._flags[place] = 1
            self._settle()
        self._before[:] = self._now
        return self.exponents

    def _settle(self) -> None:
        """Compute what is flagged, and what follows from it: all that a place reads is before it.
        """
        flags, count = self._flags, len(self._layers)
        assert self._known is not None
        place = flags.find(1)
        while place >= 0:
            flags[place] = 0
            if place < count:
                self._settle_layer(place, self._known)
            else:
                self._settle_node(place - count, self._known)
            place = flags.find(1, place)

    def _settle_layer(self, at: int, known: list[int]) -> None:
        """Compute the exponents of a layer's forward pass and of its weights."""
        layer, inputs, most = self._layers[at], self._inputs, self._most[at]
        sources = self._sources[at]
        x, second = inputs[sources[0]], inputs[sources[1]] if len(sources) > 1 else 0
        measured = known[self._column[at]]
        target = (measured + rules.MARGIN if measured > _NONE else rules.FEATURE_START
                  ) - rules.FRACTION_BITS
        target = min(max(target, rules.FEATURE_FLOOR), self._ceilings[at])
        w = known[self._copy_of_weight[at]]
        if layer.kind == kinds.CURVE:
            w = SLOPE_EXPONENT
        if layer.kind.normalises:
            measured = known[self._coefficient[at]]
            w = (measured + rules.MARGIN if measured > _NONE else rules.COEFFICIENT_START
                 ) - rules.COEFFICIENT_BITS
            w = max(w, target - x - most)
            if len(sources) > 1:
                w = min(max(w, second - x - rules.SCALE_BITS), second - x)
            total = x + w
        elif layer.on_array:
            total = x + w
        elif layer.kind.multiplies:
            total = x + second
        elif layer.kind == kinds.ADD:
            total = rules.common(x, second if len(sources) > 1 else x)
        else:
            total = x - self._less[at]
        y = min(max(target, total), total + most)
        w_next = w
        if layer.trained and layer.on_array:
            w_next = known[self._range_of_weight[at]] + rules.MARGIN - rules.FRACTION_BITS
            w_next = min(max(w_next, rules.WEIGHT_FLOOR), rules.WEIGHT_CEILING)
        found, had = (x, second, w, y, w_next, total), self._had[at]
        if found == had:
            return
        self._had[at] = found
        e, flags = self.exponents, self._flags
        e.version += 1
        e.x[at], e.second[at], e.w[at], e.y[at], e.w_next[at], e.total[at] = found
        if had is None or y != had[3]:
            inputs[at] = y
            for place in self._readers[at]:
                flags[place] = 1
            if at == len(self._layers) - 1:
                self._write(len(self._graph), self._policy.loss.gradient_exponent(self._batch, y))
        if had is None or w != had[2] or (layer.kind.multiplies and found[:2] != had[:2]):
            for place in self._weighted[at]:
                flags[place] = 1

    def _settle_node(self, number: int, known: list[int]) -> None:
        """Compute the exponents of a node of the backward graph."""
        node, reads, written = self._graph[number], self._reads[number], self._written
        layer = node.layer
        total = written[reads[0]] - self._less_back[number]
        if node.kind == nodes.SUM:
            total = rules.common(total, written[reads[1]])
        elif node.kind == nodes.BACKWARD:
            total += self._w(layer)
        elif node.kind in (nodes.PRODUCT, nodes.FACTOR):
            factors = self._had[layer]
            assert factors is not None, "layers come before nodes"
            total += factors[0 if node.input else 1]
        elif node.kind == nodes.NORM:
            measured = known[self._offset[number]]
            total += (measured + rules.MARGIN - rules.COEFFICIENT_BITS if measured > _NONE
                      else self._w(layer))
        found = total
        if self._wanted[number] >= 0:
            measured = known[self._wanted[number]]
            target = (measured + rules.MARGIN if measured > _NONE else rules.GRADIENT_START
                      ) - rules.FRACTION_BITS
            target = max(target, rules.GRADIENT_FLOOR, total)
            found = min(target, total + _most_back(node), rules.MAX_GRADIENT_EXPONENT)
        place = len(self._layers) + number
        had = self._had[place]
        if had == (total, found):
            return
        self._had[place] = total, found
        e = self.exponents
        e.version += 1
        e.sums[number] = total
        if had is None or found != had[1]:
            if node.kind == nodes.BACKWARD and node.target:
                e.dx[layer] = found
                e.behind[layer] = found if found else NO_GRADIENT
            self._write(number, found)

    def _w(self, layer: int) -> int:
        """Return the exponent that a layer's forward pass multiplies by."""
        had = self._had[layer]
        assert had is not None, "layers come before nodes"
        return had[2]

    def _write(self, number: int, exponent: int) -> None:
        """Take the exponent of what a node writes; behind the last one, of the logits' gradient."""
        e = self.exponents
        self._written[number] = exponent
        e.gradients[number] = exponent
        for at in self._dy_behind[number]:
            e.dy[at] = exponent
        for place in self._nodes_behind[number]:
            self._flags[place] = 1

    # -- measures --------------------------------------------------------------------------------

    def observe(self, ranges: Ints, next_weights: Ints, seen: NDArray[np.bool_] | None) -> None:
        """Take what was measured in a training step.

        Args:
            ranges: of each history that is measured, then of weights, as the constructor was told.
            next_weights: exponents of the copies that the update has made of these weights.
            seen: what was measured; all else was zero, and leaves its range as it is. None: all.
        """
        first, row = self._first, self._row
        if seen is None:
            self._rows[row][:] = ranges[:first]
            self._learnt_k[:] = ranges[len(ranges) - self._learning :]
        else:
            kept = np.flatnonzero(~seen[:first])
            self._histories[:, kept] = np.roll(self._histories[:, kept], 1, axis=0)
            np.copyto(self._rows[row], ranges[:first], where=seen[:first])
            start = len(ranges) - self._learning
            np.copyto(self._learnt_k, ranges[start:], where=seen[start:])
        self._learnt_w16[:] = next_weights
        for at, column in enumerate(self._again, first):
            if seen is None or seen[at]:
                # The oldest range but one goes as well: the newest one is not the last of the step.
                self._histories[:, column] = np.roll(self._histories[:, column], -1)
                self._histories[row, column] = ranges[at]
        self._row = (row + 1) % rules.HISTORY_STEPS


def _most(layer: QuantLayer) -> int:
    """Return the largest shift behind the sums of a layer's forward pass."""
    if layer.kind.windowed:
        return 0
    return rules.MAX_OFFSET_SHIFT if layer.kind.normalises else rules.MAX_SHIFT


def _most_back(node: BackwardNode) -> int:
    """Return the largest shift behind the sums of a node."""
    return rules.MAX_OFFSET_SHIFT if node.kind == nodes.NORM else rules.MAX_SHIFT
