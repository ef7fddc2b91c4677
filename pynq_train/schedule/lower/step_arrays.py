"""A training step's numbers in NumPy arrays that are made once per plan: step block and records.

What :mod:`~pynq_train.quant.step`, :mod:`~pynq_train.schedule.lower.step_block` and
:mod:`~pynq_train.schedule.lower.records` define is computed here for all layers at once; tests
compare the bytes on random networks. Whatever is unusual, a value that its field does not hold for
one, is left to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.fixed.counter_hash import STEP_BITS
from pynq_train.hw.commands import PARAM_WORDS, RECORD_WORDS, Opcode, pack_params
from pynq_train.hw.layouts import RECORD, SOFTMAX_RECORD
from pynq_train.hw.words import LINE_WORDS, MASTER_EXPONENT, round_up
from pynq_train.layers import kinds, nodes
from pynq_train.quant.array_policy import (
    KEPT,
    ArrayPolicy,
    ArrayState,
    Exponents,
    Ints,
    handles,
)
from pynq_train.quant.policy import FRACTION_BITS, ExponentPolicy, keep_scale, mean_scale
from pynq_train.quant.step import (
    GRADIENT_PRESHIFT,
    MOMENTUM_EXPONENT,
    SgdStep,
    limit_code,
)
from pynq_train.schedule.lower.rate_words import RateWords, place_of
from pynq_train.schedule.lower.step_block import DEAD_UPDATE
from pynq_train.schedule.passes.descriptors import SOFTMAX_PARAM, Descriptor, Role, param_index
from pynq_train.schedule.plan import Plan

_MEASURED = {Role.FORWARD: "y", Role.FORWARD_VECTOR: "y", Role.BACKWARD: "dx",
             Role.WEIGHT_GRADIENT: "w", Role.NORM_COEFFICIENTS: "a", Role.BACKWARD_NORM: "b",
             Role.BACKWARD_VECTOR: "node", Role.UNPOOL: "node"}
"""By role: what a record measures."""
_OF_NODES, _LAST = ("b", "node"), ("a", "b")
"""What belongs to nodes of the backward graph; of which of several records the last one counts."""
_COUNTED = {**{role: what for role, what in _MEASURED.items() if what != "node"}, Role.POOL: "y"}
"""By role: of which tensor of a layer a record counts the saturations."""
_MEASURE, _SATURATIONS = RECORD.at("measure").mask, RECORD.at("saturations").mask
_LOSS, _CORRECT = SOFTMAX_RECORD.at("loss"), SOFTMAX_RECORD.at("correct")
_ALL = (slice(None),)
"""All pushes at once."""
_TABLE = 128
"""Exponents of outputs, either way, of which a table has the clipping limit."""
Words = NDArray[np.uint64]


@dataclass(frozen=True)
class StepResult:
    """What the records of a training step say.

    Attributes:
        loss_sum: sum of the losses over the valid images, in nats (squared error: as it is).
        correct: number of correct predictions.
        saturations: saturated elements, by the tensors that have any.
    """

    loss_sum: float
    correct: int
    saturations: dict[str, int]


@dataclass(frozen=True)
class _Block:
    """What follows from the exponents of a step.

    Attributes:
        exponents: the exponents.
        words: the step block, without what the optimizer says.
        added: what is added to the bits of each measure for its range.
        next_weights: exponents of the weights' next copies.
    """

    exponents: Exponents
    words: Ints
    added: Ints
    next_weights: Ints


class _Fields:
    """Fields of step-block entries, gathered column by column, that are packed together."""

    def __init__(self) -> None:
        self._words: list[Ints] = []
        self._shifts: list[int] = []
        self._fields: list[tuple[int, int, int]] = []
        self._sizes: list[int] = []

    def column(self, opcode: Opcode, name: str, entries: Sequence[int] | Ints) -> None:
        """Add a field of some entries; their values are given in this order."""
        word, lsb, bits, signed = place_of(opcode, name)
        self._words.append(np.asarray(entries, np.int64) * PARAM_WORDS + word)
        self._shifts.append(lsb)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        self._fields.append((low, high, (1 << bits) - 1))
        self._sizes.append(len(entries))

    def finish(self) -> None:
        """Make the tables: no more columns."""
        def each(values: Sequence[int]) -> Ints:
            return np.repeat(np.array(values, np.int64), self._sizes)

        words = np.concatenate([*self._words, np.zeros(0, np.int64)])
        self._order = np.argsort(words, kind="stable")
        self.targets, self._starts = np.unique(words[self._order], return_index=True)
        self._shift = each(self._shifts)
        self._low, self._high, self._mask = (
            each([field[at] for field in self._fields]) for at in range(3))

    def pack(self, columns: Sequence[Ints]) -> Ints | None:
        """Return the words ``targets``; None if a value does not fit its field."""
        values = np.concatenate(columns)
        if ((values < self._low) | (values > self._high)).any():
            return None
        bits = (values & self._mask) << self._shift
        packed: Ints = np.bitwise_or.reduceat(bits[self._order], self._starts)
        return packed


class ResultTable:
    """What the records of a program say of loss, right answers and saturations.

    Args:
        plan: the plan.
        descriptors: descriptors of the program.
    """

    def __init__(self, plan: Plan, descriptors: Sequence[Descriptor]) -> None:
        tensors: dict[str, list[int]] = {}
        for number, one in enumerate(descriptors):
            if one.role == Role.SOFTMAX:
                self._softmax = number
            elif one.role in (Role.BACKWARD_VECTOR, Role.UNPOOL):
                target = plan.backward_graph.nodes[one.node].target
                tensors.setdefault(target, []).append(number)
            elif one.role in _COUNTED:
                name = f"{plan.specs[one.layer].name}.{_COUNTED[one.role]}"
                tensors.setdefault(name, []).append(number)
        self._count = len(descriptors)
        self._tensors = list(tensors)
        rows, self._starts = _joined(list(tensors.values()))
        self._counts = RECORD_WORDS * rows + RECORD.at("saturations").word

    def words(self, records: NDArray[np.uint8]) -> Ints:
        """Return the words of records, int64: four of each descriptor.

        Raises:
            BadInput: there are not as many records as descriptors.
        """
        words = records.view(np.int64)
        if len(words) != self._count * RECORD_WORDS:
            raise BadInput("records", expected=f"{self._count} of {RECORD_WORDS} words",
                           found=f"{len(words)} words")
        return words

    def softmax(self, words: Ints) -> tuple[int, int]:
        """Return the sum of the losses, in units of ``Loss.unit``, and the right answers."""
        first = RECORD_WORDS * self._softmax
        return (_LOSS.extract(words.item(first + _LOSS.word)),
                _CORRECT.extract(words.item(first + _CORRECT.word)))

    def saturations(self, words: Ints) -> dict[str, int]:
        """Return the saturated elements by tensor, of tensors that have any."""
        each = words.take(self._counts)
        if not np.count_nonzero(each):
            return {}
        counts = np.add.reduceat(each & _SATURATIONS, self._starts)
        return {self._tensors[at]: int(counts[at]) for at in np.flatnonzero(counts)}


class StepArrays:
    """The training steps of a plan: from exponents to step block, from records to exponents.

    Args:
        plan: the plan.
        descriptors: descriptors of its training program.
        policy: exponent state; the arrays move on by themselves until :meth:`store`.
    """

    def __init__(self, plan: Plan, descriptors: Sequence[Descriptor], policy: ExponentPolicy
                 ) -> None:
        self._plan, self._policy = plan, policy
        self._ranges = ArrayPolicy(policy, plan.batch)
        self._blocks: dict[tuple[int, int, int], _Block] = {}
        self._block: _Block | None = None
        # Whole cache lines: the driver need not look at what stands behind the last entry, where a
        # region has nothing.
        self._template = np.zeros(round_up(plan.step_block.entries * PARAM_WORDS, LINE_WORDS),
                                  np.int64)
        self._forward_tables()
        self._update_tables()
        self._node_tables()
        self._fields.finish()
        self._record_tables(descriptors)

    @staticmethod
    def of(plan: Plan, descriptors: Sequence[Descriptor], policy: ExponentPolicy
           ) -> StepArrays | None:
        """Return the arrays of a plan; None for a network that they do not handle."""
        return StepArrays(plan, descriptors, policy) if handles(policy) else None

    def load(self, policy: ExponentPolicy) -> None:
        """Take the state of the exponents from a policy of the same network and loss."""
        self._policy = policy
        self._ranges.load(policy)

    def state(self) -> ArrayState:
        """Return a copy of the state of the exponents."""
        return self._ranges.state()

    def take_back(self, state: ArrayState) -> None:
        """Go back to a state; it must not be used again."""
        self._ranges.take_back(state)

    def store(self) -> None:
        """Write the state of the exponents to the policy that it was taken from."""
        self._ranges.store()

    # -- tables ----------------------------------------------------------------------------------

    def _fixed(self, entry: int, opcode: Opcode, values: Mapping[str, int]) -> None:
        """Write fields of an entry that are the same in all steps."""
        words = np.frombuffer(pack_params(opcode, values), "<i8")
        self._template[PARAM_WORDS * entry : PARAM_WORDS * (entry + 1)] |= words

    def _forward_tables(self) -> None:
        plan, self._fields = self._plan, _Fields()
        layers, specs = plan.quant_layers, plan.specs
        entry = [param_index(Role.FORWARD, at) for at in range(len(specs))]
        column = self._fields.column
        on_array = [at for at, layer in enumerate(layers) if layer.on_array]
        on_vector = [at for at, layer in enumerate(layers) if not layer.on_array]
        # Pooling by windows copies values, and has no limit of its own.
        limited = [at for at in on_vector if not layers[at].kind.windowed]
        scaled = [at for at in limited if layers[at].kind == kinds.ADD]
        paired = [at for at in limited if len(layers[at].sources) > 1
                  and (layers[at].kind == kinds.ADD or layers[at].kind.normalises)]
        self._on_array, self._on_vector, self._limited, self._scaled, self._paired = (
            np.array(one, np.int64) for one in (on_array, on_vector, limited, scaled, paired))
        for opcode, chosen, names in (
                (Opcode.CONV, on_array, ("shift", "bias_shift", "limit")),
                (Opcode.VECTOR, on_vector, ("shift",)), (Opcode.VECTOR, limited, ("limit",)),
                (Opcode.VECTOR, scaled, ("a_scale",)), (Opcode.VECTOR, paired, ("b_scale",))):
            for name in names:
                column(opcode, name, [entry[at] for at in chosen])
        column(Opcode.CONV, "shift", [param_index(Role.BACKWARD, at) for at in range(len(specs))])
        self._limits, rows = _limit_tables([layer.activation for layer in layers])
        self._limit_row = np.array(rows)
        norms = [at for at, layer in enumerate(layers) if layer.kind.normalises]
        self._norms = np.array(norms, np.int64)
        for name in ("z_exp", "a_exp", "c_exp"):
            column(Opcode.NORM, name, [plan.step_block.coefficients(at) for at in norms])
        self._dropped: list[int] = []
        for at, layer in enumerate(layers):
            norm = plan.layers[at].norm
            if norm is not None and layer.kind.normalises:
                self._fixed(plan.step_block.coefficients(at), Opcode.NORM,
                            {"alpha": round(norm.momentum * (1 << 16))})
            if layer.kind.reduces:
                self._fixed(entry[at], Opcode.VECTOR, {"a_scale": mean_scale(layer.pixels)[0]})
            if layer.kind == kinds.DROP:
                self._fixed(entry[at], Opcode.VECTOR, {"a_scale": keep_scale(layer.rate)[0]})
                self._dropped.append(entry[at])

    def _update_tables(self) -> None:
        plan, layers = self._plan, self._plan.quant_layers
        active = plan.backward_graph.of_layer
        weights = [at for at, one in enumerate(plan.trainable) if one.weights and at in active]
        biases = [at for at, one in enumerate(plan.trainable) if one.bias and at in active]
        for at, one in enumerate(plan.trainable):
            if one.bias and not one.weights and at in active:
                opcode = Opcode.GRADIENT if layers[at].on_array else Opcode.UPDATE
                self._fixed(param_index(Role.WEIGHT_GRADIENT, at), opcode, DEAD_UPDATE)
        array = [at for at in weights if layers[at].on_array]
        gammas = [at for at in weights if not layers[at].on_array]
        self._weights, self._gammas, self._biases = (
            np.array(one, np.int64) for one in (array, gammas, biases))
        # One entry for weights or gamma, one for biases or beta; the first few decay.
        updates = [(at, 0, param_index(Role.WEIGHT_GRADIENT, at), at in array)
                         for at in (*array, *gammas)]
        updates += [(at, 1, param_index(Role.UPDATE_BIAS, at), False) for at in biases]
        entries = [entry for _, _, entry, _ in updates]
        for name in ("w_shift", "g_shift"):
            for first, last, opcode in (
                    (0, len(array), Opcode.GRADIENT), (len(array), len(weights), Opcode.UPDATE),
                    (len(weights), len(entries), Opcode.UPDATE)):
                self._fields.column(opcode, name, entries[first:last])
        self._rates = RateWords(updates, len(self._template))

    def _node_tables(self) -> None:
        plan, graph = self._plan, self._plan.backward_graph.nodes
        last = self._ranges.last
        on_vector = [at for at, node in enumerate(graph) if node.kind.on_vector_unit]
        shifted = [at for at in on_vector if graph[at].target]
        scaled = [at for at in on_vector if graph[at].kind not in
                  (nodes.SPREAD, nodes.NORM, nodes.UNPOOL, nodes.DROP)]
        sums = [at for at in scaled if graph[at].kind == nodes.SUM]
        norms = [at for at in on_vector if graph[at].kind == nodes.NORM]
        for chosen, name in ((shifted, "shift"), (scaled, "a_scale"), (sums, "b_scale")):
            self._fields.column(Opcode.VECTOR, name, [plan.step_block.node(at) for at in chosen])
        for name in ("z_exp", "g_exp", "a_exp", "b_exp", "c_exp"):
            self._fields.column(Opcode.NORM, name,
                                [plan.step_block.node(at, True) for at in norms])
        self._named = np.array(sorted({last[node.target] for node in graph if node.target}),
                               np.int64)
        self._shifted, self._node_scaled, self._node_sums, self._node_norms = (
            np.array(one, np.int64) for one in (shifted, scaled, sums, norms))
        self._written = np.array([last[graph[at].target] for at in shifted], np.int64)
        self._read_a, self._read_b, self._read_norm = (
            np.array([last[graph[at].reads[number].tensor] for at in chosen], np.int64)
            for chosen, number in ((scaled, 0), (sums, 1), (norms, 0)))
        self._norm_layer = np.array([graph[at].layer for at in norms], np.int64)
        for at in on_vector:
            node, layer = graph[at], plan.quant_layers[graph[at].layer]
            if node.kind == nodes.SPREAD:
                self._fixed(plan.step_block.node(at), Opcode.VECTOR,
                            {"b_scale": mean_scale(layer.pixels)[0]})
            elif node.kind == nodes.DROP:
                self._fixed(plan.step_block.node(at), Opcode.VECTOR,
                            {"a_scale": keep_scale(layer.rate)[0]})

    # -- step block ------------------------------------------------------------------------------

    def block(self, sgd: SgdStep) -> Ints | None:
        """Return the words of the step block of the next step; None where a value is unusual.

        They go on with zeros to the end of the region's last cache line.

        Raises:
            BadInput: a value of the optimizer is out of the range of its field.
        """
        e = self._ranges.exponents()
        if e is None:
            return None
        halvings = sgd.parts.bit_length() - 1
        scale = halvings
        if sgd.clip is not None:
            bounds = e.gradients[self._named] + FRACTION_BITS
            scale += max(0, int(bounds.max()) - sgd.clip) if len(bounds) else 0
        valid = self._plan.batch if sgd.valid is None else sgd.valid
        # Exponents that were there before make the same words; the rates come on top.
        found = self._blocks.get((id(e), scale, valid))
        if found is None or found.exponents is not e:
            self._block = None
            if e.y.min() < -_TABLE or e.y.max() >= _TABLE:
                return None
            packed = self._fields.pack([*self._layer_values(e), *self._update_values(e, scale),
                                        *self._node_values(e)])
            if packed is None:
                return None
            fixed = self._template.copy()
            fixed[self._fields.targets] |= packed
            fixed[PARAM_WORDS * SOFTMAX_PARAM : PARAM_WORDS * (SOFTMAX_PARAM + 1)] = _softmax(
                self._policy.loss, int(e.y[-1]), valid)
            added = np.concatenate((e.total, e.w, e.sums, e.sums - e.gradients[self._reads],
                                    [MASTER_EXPONENT]))[self._exponents]
            if len(self._blocks) >= KEPT:
                self._blocks.clear()
            found = self._blocks[id(e), scale, valid] = _Block(
                e, fixed, added, e.w_next[self._weight_layers])
        self._block = found
        words = found.words + self._rates.words(sgd, self._policy.loss.fold(self._plan.batch))
        for entry in self._dropped:
            drawn = {"drop_seed": sgd.seed % (1 << 32), "drop_step": sgd.step % (1 << STEP_BITS)}
            words[PARAM_WORDS * entry : PARAM_WORDS * (entry + 1)] |= np.frombuffer(
                pack_params(Opcode.VECTOR, drawn), "<i8")
        return words

    def _layer_values(self, e: Exponents) -> tuple[Ints, ...]:
        at, total = self._on_array, e.total
        shift = e.y - total
        limit = self._limits[self._limit_row, e.y + _TABLE]
        scaled, paired, norms = self._scaled, self._paired, self._norms
        back = np.where(e.dx != 0, np.maximum(e.dx - e.dy - e.w, 0), 0)
        return (shift[at], MASTER_EXPONENT - total[at], limit[at], shift[self._on_vector],
                limit[self._limited], _scales(e.x[scaled] - total[scaled]),
                _scales(e.second[paired] - total[paired]), back,
                e.x[norms], e.w[norms], total[norms])

    def _update_values(self, e: Exponents, scale: int) -> tuple[Ints, ...]:
        array, gammas, biases = self._weights, self._gammas, self._biases
        narrow = e.w_next - MASTER_EXPONENT
        low = np.maximum(narrow, 0)
        ready = GRADIENT_PRESHIFT + MOMENTUM_EXPONENT + scale
        sums = np.minimum(ready - e.x[array] - e.dy[array], 63)
        vectors = np.minimum(ready - e.dy, 63)
        return (narrow[array], low[gammas], low[biases], sums, vectors[gammas], vectors[biases])

    def _node_values(self, e: Exponents) -> tuple[Ints, ...]:
        g, sums, norms = e.gradients, e.sums, self._node_norms
        x, read = e.x[self._norm_layer], g[self._read_norm]
        return (g[self._written] - sums[self._shifted],
                _scales(g[self._read_a] - sums[self._node_scaled]),
                _scales(g[self._read_b] - sums[self._node_sums]),
                x, read, sums[norms] - read, sums[norms] - x, sums[norms])

    # -- records ---------------------------------------------------------------------------------

    def _record_tables(self, descriptors: Sequence[Descriptor]) -> None:
        """Say for each measure to which history it goes."""
        plan, slot = self._plan, self._ranges.slot
        graph, count = plan.backward_graph.nodes, len(plan.specs)
        self._results = ResultTable(plan, descriptors)
        measures: dict[tuple[str, int], list[int]] = {}
        for number, one in enumerate(descriptors):
            what = _MEASURED.get(one.role)
            if what is None:
                continue
            rows = measures.setdefault((what, one.node if what in _OF_NODES else one.layer), [])
            if what in _LAST:
                rows.clear()
            rows.append(number)
        # What a record measures, where it goes, and the exponent that it is of, by position among
        # [forward totals, forward w, sums, sums less the gradient that is read].
        pushes: list[tuple[list[int], int, int]] = []
        weights: list[int] = []
        for layer in range(count):
            if ("y", layer) in measures:
                pushes.append((measures["y", layer], layer, layer))
            if ("a", layer) in measures:
                pushes.append((measures["a", layer], slot(f"{plan.specs[layer].name}.a"),
                               count + layer))
            if ("w", layer) in measures:
                weights.append(layer)
        nodes_count = len(graph)
        self._reads = np.array([self._ranges.last[node.reads[0].tensor] for node in graph],
                               np.int64)
        for number, node in enumerate(graph):
            rows = measures.get(("node", number), [])
            if node.kind == nodes.BACKWARD and not rows:
                rows = measures.get(("dx", node.layer), [])
            if node.kind == nodes.NORM and ("b", number) in measures:
                pushes.append((measures["b", number], slot(f"{plan.specs[node.layer].name}.b"),
                               2 * count + nodes_count + number))
            if rows and node.target and not node.kind.copies:
                pushes.append((rows, slot(node.target), 2 * count + number))
        self._weight_layers = np.array(weights, np.int64)
        groups = [rows for rows, _, _ in pushes] + [measures["w", layer] for layer in weights]
        records, starts = _joined(groups)
        self._measures = RECORD_WORDS * records + RECORD.at("measure").word
        self._measure_starts = None if len(starts) == len(records) else starts
        self._rounds = _rounds([place for _, place, _ in pushes])
        self._slots = np.array([place for _, place, _ in pushes], np.intp)
        self._exponents = np.array([at for _, _, at in pushes] + [-1] * len(weights), np.int64)
        self._weight_places, self._copy_places = self._ranges.slots_of_weights(
            self._weight_layers)

    def take(self, records: NDArray[np.uint8]) -> StepResult:
        """Take note of the records of the step whose block was made last.

        Args:
            records: uint8, the bytes of symbol ``train.records``.
        """
        block, words = self._block, self._results.words(records)
        assert block is not None, "block was called before"
        measured = words.take(self._measures) & _MEASURE
        if self._measure_starts is not None:
            measured = np.bitwise_or.reduceat(measured, self._measure_starts)
        bits = np.frexp(measured)[1]
        found, count = bits + block.added, len(self._slots)
        ranges, slots, weights, places = (found[:count], self._slots, found[count:],
                                          self._weight_places)
        rounds: Sequence[Any] = self._rounds
        if np.count_nonzero(bits) < len(bits):  # what is all zero leaves its history as it is
            seen = bits > 0
            weights, places = weights[seen[count:]], places[seen[count:]]
            rounds = [chosen[seen[chosen]] for chosen in rounds]
        elif len(rounds) == 1:
            rounds = _ALL
        for chosen in rounds:
            self._ranges.observe(slots[chosen], ranges[chosen])
        self._ranges.learn(places, weights)
        self._ranges.learn(self._copy_places, block.next_weights)
        loss, correct = self._results.softmax(words)
        return StepResult(loss * self._policy.loss.unit(int(block.exponents.y[-1])), correct,
                          self._results.saturations(words))


def _joined(groups: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Return all rows of groups, one group behind the other, and where each begins."""
    sizes = [len(group) for group in groups]
    # Of the processor's size, as all that is looked up by take(): 32 bits on a Zynq-7000.
    rows = np.array([row for group in groups for row in group], np.intp)
    return rows, np.cumsum([0, *sizes[:-1]])


def _rounds(slots: Sequence[int]) -> list[Ints]:
    """Return the positions of pushes to histories, so that no round has a history twice."""
    rounds: list[list[int]] = [[]]
    seen: dict[int, int] = {}
    for at, slot in enumerate(slots):
        number = seen[slot] = seen.get(slot, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(at)
    return [np.array(one, np.int64) for one in rounds]


def _scales(above: Ints) -> Ints:
    """Return ``2**above``, 0 where that is below one; as ``quant.step`` has it for one map."""
    if not len(above):
        return above
    return np.where(above >= 0, np.left_shift(1, np.minimum(np.maximum(above, 0), 62)), 0)


def _limit_tables(activations: Sequence[object]) -> tuple[Ints, list[int]]:
    """Return the limits by kind of activation and exponent, and the row of each activation."""
    rows: list[object] = []
    for one in activations:
        if one not in rows:
            rows.append(one)
    table = np.array([[limit_code(one, at) for at in range(-_TABLE, _TABLE)]  # type: ignore[arg-type]
                      for one in rows], np.int64)
    return table, [rows.index(one) for one in activations]


@lru_cache(maxsize=64)
def _softmax(loss: object, logits: int, valid: int) -> Ints:
    """Return the words of the softmax unit's entry."""
    values = {**loss.fields(logits), "valid": valid}  # type: ignore[attr-defined]
    return np.frombuffer(pack_params(Opcode.SOFTMAX, values), "<i8")
