"""The exponent policy as NumPy arrays, for the training step: the same integers in less time.

:class:`~pynq_train.quant.policy.ExponentPolicy` says what the exponents are; tests compare both on
random networks. Layers and nodes are numbered as in the network, histories as ``slots`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.layers import kinds, nodes
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.quant import policy as rules
from pynq_train.quant.policy import ExponentPolicy, QuantLayer, keep_scale, mean_scale

Ints = NDArray[np.int64]
_NONE = -(1 << 20)
"""A range that was not measured."""
_UNKNOWN = 1 << 30
KEPT = 16
"""States whose exponents are kept."""


@dataclass
class Exponents:
    """Exponents of one training step by layer, and by node of the backward graph.

    Attributes:
        x, second, w, y, dy, dx, w_next, total: of each layer, as in ``LayerExponents``
            (``total``: of the forward sums).
        sums: of the sums behind each node.
        gradients: of what each node writes; one more element for the gradient of the logits.
    """

    x: Ints
    second: Ints
    w: Ints
    y: Ints
    dy: Ints
    dx: Ints
    w_next: Ints
    total: Ints
    sums: Ints
    gradients: Ints


ArrayState = Ints
"""A copy of the state; see :class:`ArrayPolicy`."""


def handles(policy: ExponentPolicy) -> bool:
    """Return whether a policy's network can be computed in arrays: it joins no maps.

    The sources of a concatenation share an exponent that is found in rounds.
    """
    return not any(layer.kind.joins for layer in policy.layers)


class ArrayPolicy:
    """The state of a policy, and the exponents that follow from it.

    Args:
        policy: the policy; :meth:`store` writes the present state back to it.
        batch: images of the mini-batch.
    """

    def __init__(self, policy: ExponentPolicy, batch: int) -> None:
        self._policy, self._batch = policy, batch
        layers, graph = policy.layers, policy.backward_graph.nodes
        self._layers, self._graph = layers, graph
        count = len(layers)
        self._place = {f"{layer.name}.dy": count + at for at, layer in enumerate(layers)}
        names = [f"{layer.name}.a" for layer in layers if layer.kind.normalises]
        names += [f"{layers[node.layer].name}.b" for node in graph if node.kind == nodes.NORM]
        names += [node.target for node in graph if node.target and not node.kind.copies]
        for name in names:
            self._place.setdefault(name, count + len(self._place))
        self._forward_tables()
        self._backward_tables()
        self.load(policy)

    # -- tables ----------------------------------------------------------------------------------

    def slot(self, name: str) -> int:
        """Return the slot of a history by its name: ``<layer>.dy``, ``<layer>.a``, a tensor."""
        return self._place[name]

    def _forward_tables(self) -> None:
        layers, count = self._layers, len(self._layers)
        self._src = np.array([layer.sources[0] for layer in layers])  # -1: the last element
        self._src[self._src < 0] = count
        second = [layer.sources[1] if len(layer.sources) > 1 else None for layer in layers]
        # One element more holds 0, for layers without a second input.
        self._src2 = np.array([count + 1 if at is None else count if at < 0 else at
                               for at in second])
        self._array = np.array([layer.on_array for layer in layers])
        self._adds_weight = np.array([layer.on_array or layer.kind.normalises for layer in layers])
        self._most = np.array([_most(layer) for layer in layers])
        self._less = np.array([
            mean_scale(layer.pixels)[1] if layer.kind.reduces else
            keep_scale(layer.rate)[1] if layer.kind == kinds.DROP else 0 for layer in layers])
        self._norm = np.array([at for at, layer in enumerate(layers) if layer.kind.normalises],
                              np.int64)
        self._norm_slot = np.array([self._place[f"{layers[at].name}.a"] for at in self._norm],
                                   np.int64)
        self._paired = np.array([at for at in self._norm if second[at] is not None], np.int64)
        self._single = np.array([at for at in self._norm if second[at] is None], np.int64)
        self._adds = np.array([at for at, layer in enumerate(layers) if layer.kind == kinds.ADD],
                              np.int64)
        self._add2 = np.array([self._src[at] if second[at] is None else self._src2[at]
                               for at in self._adds], np.int64)
        self._learns = np.array([layer.trained and layer.on_array for layer in layers])
        self._ceiling = np.full(count, rules.FEATURE_CEILING)
        self._ceiling[-1] = self._policy.loss.logits_ceiling(self._batch)

    def _backward_tables(self) -> None:
        layers, graph, count = self._layers, self._graph, len(self._graph)
        last = {DLOGITS: count}
        reads: list[list[int]] = []
        for number, node in enumerate(graph):
            reads.append([last[ref.tensor] for ref in node.reads])
            if node.target:
                last[node.target] = number
        self.last = last
        self._read = np.array([one[0] for one in reads], np.int64)
        self._sum_at = np.array([number for number, node in enumerate(graph)
                                 if node.kind == nodes.SUM], np.int64)
        self._sum_read = np.array([reads[number][1] for number in self._sum_at], np.int64)
        self._less_back = np.array([
            mean_scale(layers[node.layer].pixels)[1] if node.kind == nodes.SPREAD else
            keep_scale(layers[node.layer].rate)[1] if node.kind == nodes.DROP else 0
            for node in graph], np.int64)
        self._weighted = np.array([number for number, node in enumerate(graph)
                                   if node.kind == nodes.BACKWARD], np.int64)
        self._weighted_layer = np.array([graph[number].layer for number in self._weighted],
                                        np.int64)
        self._norms_back = np.array([number for number, node in enumerate(graph)
                                     if node.kind == nodes.NORM], np.int64)
        self._norms_layer = np.array([graph[number].layer for number in self._norms_back],
                                     np.int64)
        self._norms_slot = np.array([self._place[f"{layers[at].name}.b"]
                                     for at in self._norms_layer], np.int64)
        self._copies = np.array([node.kind.copies for node in graph], bool)
        self._back_slot = np.array([self._place[node.target] if node.target and
                                    not node.kind.copies else 0 for node in graph], np.int64)
        self._most_back = np.array([rules.MAX_OFFSET_SHIFT if node.kind == nodes.NORM
                                    else rules.MAX_SHIFT for node in graph], np.int64)
        written = [number for number in self._weighted if graph[number].target]
        self._dx_at = np.array([graph[number].layer for number in written], np.int64)
        self._dx_from = np.array(written, np.int64)
        refs = self._policy.backward_graph.of_layer
        self._dy_at = np.array([at for at in range(len(layers)) if at in refs], np.int64)
        self._dy_from = np.array([last[refs[at].tensor] for at in self._dy_at], np.int64)

    # -- state -----------------------------------------------------------------------------------

    def load(self, policy: ExponentPolicy) -> None:
        """Take the state of a policy, which is one of the same network."""
        self._policy, count = policy, len(self._layers)
        size, steps = count + len(self._place), rules.HISTORY_STEPS
        # All in one array, which is copied before each step: ranges by place and slot; of each slot
        # where, in this array, the next range goes; what belongs to weights.
        self._words = np.full((steps + 3, size), _NONE, np.int64)
        self._flat, self._size, self._end = self._words.reshape(-1), size, steps * size
        self._ranges, self._next = self._words[:steps], self._words[steps]
        self._weight_k, self._w16 = self._words[steps + 1, :count], self._words[steps + 2, :count]
        self._next[:] = np.arange(size)
        for slot, history in self._histories():
            self._ranges[: len(history), slot] = history
            self._next[slot] = len(history) % steps * size + slot
        self._weight_k[:], self._w16[:] = policy.weight_k, policy.w16
        self._found: dict[bytes, Exponents | None] = {}
        self._guess = np.full(count + 2, _UNKNOWN, np.int64)
        self._guess_back = np.full(len(self._graph) + 1, _UNKNOWN, np.int64)

    def _histories(self) -> Iterator[tuple[int, list[int]]]:
        """Yield slot and list of each history, in the order of the slots."""
        policy = self._policy
        yield from enumerate(policy.feature)
        for name, slot in self._place.items():
            at = slot - len(self._layers)
            if at < len(self._layers):
                yield slot, policy.gradient[at]
            else:
                yield slot, policy.extra.get(name, [])

    def store(self) -> None:
        """Write the present state to the policy's lists."""
        policy, count = self._policy, len(self._layers)
        newest = (self._next[None, :] // self._size + np.arange(rules.HISTORY_STEPS)[:, None]
                  ) % rules.HISTORY_STEPS
        ordered = np.take_along_axis(self._ranges, newest, 0).T.tolist()
        lists = [[value for value in row if value != _NONE] for row in ordered]
        policy.feature[:] = lists[:count]
        policy.gradient[:] = lists[count : 2 * count]
        targets = {node.target for node in self._graph if not node.kind.copies}
        for name, slot in self._place.items():
            if slot >= 2 * count and (lists[slot] or name in policy.extra or name in targets):
                policy.extra[name] = lists[slot]
        policy.weight_k[:] = self._weight_k.tolist()
        policy.w16[:] = self._w16.tolist()

    def state(self) -> ArrayState:
        """Return a copy of the present state."""
        return self._words.copy()

    def take_back(self, state: ArrayState) -> None:
        """Go back to a state."""
        self._words[:] = state

    # -- exponents -------------------------------------------------------------------------------

    def exponents(self) -> Exponents | None:
        """Return the exponents of the next training step.

        None where they do not settle: the policy itself has to be asked.
        """
        ranges = np.maximum.reduce(self._ranges, axis=0)
        # Few steps change the largest ranges, and some change them back.
        seen = ranges.tobytes() + self._words[-2:].tobytes()
        if seen not in self._found:
            if len(self._found) >= KEPT:
                self._found.clear()
            self._found[seen] = self._compute(ranges)
        return self._found[seen]

    def _compute(self, ranges: Ints) -> Exponents | None:
        measured = ranges > _NONE
        want = ranges + (rules.MARGIN - rules.FRACTION_BITS)
        forward = self._forward(ranges, measured, want)
        if forward is None:
            return None
        x, second, w, y, total = forward
        gradients = np.empty(len(self._graph) + 1, np.int64)
        gradients[-1] = self._policy.loss.gradient_exponent(self._batch, int(y[-1]))
        sums = self._backward(ranges, measured, want, w, gradients)
        if sums is None:
            return None
        found = np.minimum(np.maximum(self._weight_k + (rules.MARGIN - rules.FRACTION_BITS),
                                      rules.WEIGHT_FLOOR), rules.WEIGHT_CEILING)
        dy, dx = np.zeros(len(x), np.int64), np.zeros(len(x), np.int64)
        dy[self._dy_at] = gradients[self._dy_from]
        dx[self._dx_at] = gradients[self._dx_from]
        return Exponents(x, second, w, y, dy, dx, np.where(self._learns, found, w), total, sums,
                         gradients)

    def _forward(self, ranges: Ints, measured: NDArray[np.bool_], want: Ints
                 ) -> tuple[Ints, Ints, Ints, Ints, Ints] | None:
        """Return x, second, w, y and total of all layers.

        An output's exponent is what its history wants, as near as its sums allow; these depend on
        the outputs in front. Starting from those of the last step, all are computed from all until
        nothing changes: there is one solution, since no layer reads itself.
        """
        count = len(self._layers)
        start = rules.FEATURE_START - rules.FRACTION_BITS
        target = np.where(measured[:count], want[:count], start)
        target = np.minimum(np.maximum(target, rules.FEATURE_FLOOR), self._ceiling)
        outputs = self._guess
        if outputs[0] == _UNKNOWN:
            outputs[:count] = target
        outputs[count], outputs[count + 1] = self._policy.input_exponent, 0
        w = self._w16.copy()
        coefficient = None
        if len(self._norm):
            at = self._norm_slot
            coefficient = np.where(measured[at], ranges[at] + rules.MARGIN,
                                   rules.COEFFICIENT_START) - rules.COEFFICIENT_BITS
        for _ in range(count + 2):
            x, second = outputs[self._src], outputs[self._src2]
            if coefficient is not None:
                w[self._norm] = coefficient
                at = self._paired
                least = np.maximum(target[at] - x[at] - self._most[at],
                                   second[at] - x[at] - rules.SCALE_BITS)
                w[at] = np.minimum(np.maximum(w[at], least), second[at] - x[at])
                at = self._single
                w[at] = np.maximum(w[at], target[at] - x[at] - self._most[at])
            total = np.where(self._adds_weight, x + w, x - self._less)
            if len(self._adds):
                one, other = x[self._adds], outputs[self._add2]
                total[self._adds] = np.maximum(np.minimum(one, other),
                                               np.maximum(one, other) - rules.SCALE_BITS)
            y = np.minimum(np.maximum(target, total), total + self._most)
            if (y == outputs[:count]).all():
                return x, second, w, y, total
            outputs[:count] = y
        return None

    def _backward(self, ranges: Ints, measured: NDArray[np.bool_], want: Ints, w: Ints,
                  gradients: Ints) -> Ints | None:
        """Fill in the exponents of what the nodes write; return those of their sums.

        The last element of ``gradients`` is that of the logits. As :meth:`_forward`.
        """
        count = len(self._graph)
        start = rules.GRADIENT_START - rules.FRACTION_BITS
        at = self._back_slot
        target = np.maximum(np.where(measured[at], want[at], start), rules.GRADIENT_FLOOR)
        plus = -self._less_back
        plus[self._weighted] = w[self._weighted_layer]
        if len(self._norms_back):
            at = self._norms_slot
            plus[self._norms_back] = np.where(
                measured[at], ranges[at] + (rules.MARGIN - rules.COEFFICIENT_BITS),
                w[self._norms_layer])
        guess = self._guess_back
        if guess[0] == _UNKNOWN:
            guess[:count] = target
        guess[count] = gradients[count]
        for _ in range(count + 2):
            total = guess[self._read] + plus
            if len(self._sum_at):
                one, other = guess[self._read[self._sum_at]], guess[self._sum_read]
                total[self._sum_at] = np.maximum(np.minimum(one, other),
                                                 np.maximum(one, other) - rules.SCALE_BITS)
            found = np.minimum(np.maximum(target, total), total + self._most_back)
            found = np.minimum(found, rules.MAX_GRADIENT_EXPONENT)
            found = np.where(self._copies, total, found)
            if (found == guess[:count]).all():
                gradients[:count] = found
                return total
            guess[:count] = found
        return None

    # -- measures --------------------------------------------------------------------------------

    def slots_of_weights(self, layers: Ints) -> tuple[Ints, Ints]:
        """Return the places, for :meth:`learn`, of ranges and of exponents of layers' weights."""
        return layers + (self._end + self._size), layers + (self._end + 2 * self._size)

    def observe(self, slots: Ints, ranges: Ints) -> None:
        """Take what was measured in a training step.

        Args:
            slots: histories, each at most once.
            ranges: what was measured for each.
        """
        at = self._next.take(slots)
        self._flat[at] = ranges
        self._next[slots] = (at + self._size) % self._end

    def learn(self, places: Ints, values: Ints) -> None:
        """Take what an update has made of weights, by their places."""
        self._flat[places] = values


def _most(layer: QuantLayer) -> int:
    """Return the largest shift behind the sums of a layer's forward pass."""
    if layer.kind.windowed:
        return 0
    return rules.MAX_OFFSET_SHIFT if layer.kind.normalises else rules.MAX_SHIFT
