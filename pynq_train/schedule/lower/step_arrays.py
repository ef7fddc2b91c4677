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

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.fixed.counter_hash import STEP_BITS
from pynq_train.hw.commands import PARAM_WORDS, RECORD_WORDS, Opcode, pack_params
from pynq_train.hw.curves import table_number
from pynq_train.hw.layouts import RECORD, SOFTMAX_RECORD
from pynq_train.hw.words import LINE_WORDS, MASTER_EXPONENT, round_up
from pynq_train.layers import kinds, nodes
from pynq_train.quant.array_policy import (
    ArrayPolicy,
    ArrayState,
    Exponents,
    History,
    Ints,
    gradient_places,
    handles,
)
from pynq_train.quant.policy import FRACTION_BITS, ExponentPolicy, keep_scale, mean_scale
from pynq_train.quant.step import (
    GRADIENT_PRESHIFT,
    MOMENTUM_EXPONENT,
    SgdStep,
    limit_code,
)
from pynq_train.schedule.lower.field_columns import NO_BOUND, FieldColumns
from pynq_train.schedule.lower.rate_words import RateWords
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
_CORRECT_MASK = _CORRECT.mask
_TABLE = 128
"""Exponents of outputs, either way, of which a table has the clipping limit."""
_Push = tuple[list[int], History, tuple[int, int]]
"""Records, the history that they go to, and places of the exponent that they are of: the first one
less the second one."""
_FLOAT_FRACTION, _FLOAT_BIAS = 52, 1022
"""Bits of a double's fraction; what its exponent field is above the bits of a whole number."""


# Not frozen: one is made in each step, and a frozen one takes three times as long to make.
@dataclass
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


@dataclass
class _Block:
    """What follows from the exponents of a step.

    Attributes:
        of: version of the exponents, and all else that it depends on.
        words: the step block, without rates.
        added: what is added to the exponent field of each measure for its range.
        next_weights: exponents of the weights' next copies.
        unit: loss of one unit of the softmax record.
    """

    of: tuple[object, ...]
    words: Ints
    added: Ints
    next_weights: Ints
    unit: float


class ResultTable:
    """What the records of a program say of loss, right answers and saturations.

    Args:
        plan: the plan.
        descriptors: descriptors of the program.
    """

    def __init__(self, plan: Plan, descriptors: Sequence[Descriptor]) -> None:
        tensors: dict[str, list[int]] = {}
        self._softmax: int | None = None
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
        """Return the sum of the losses, in units of ``Loss.unit``, and the right answers.

        Zeros where the host computes them.
        """
        if self._softmax is None:
            return 0, 0
        first = RECORD_WORDS * self._softmax
        # The first is all of a word, the second stands at its low end.
        return words.item(first + _LOSS.word), words.item(first + _CORRECT.word) & _CORRECT_MASK

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

    Attributes:
        input_exponent: of the images.
    """

    def __init__(self, plan: Plan, descriptors: Sequence[Descriptor], policy: ExponentPolicy
                 ) -> None:
        self._plan, self._policy = plan, policy
        self._block: _Block | None = None
        # Whole cache lines: the driver need not look at what stands behind the last entry, where a
        # region has nothing.
        self._template = np.zeros(round_up(plan.step_block.entries * PARAM_WORDS, LINE_WORDS),
                                  np.int64)
        self._words = self._template.copy()
        e = Exponents(len(plan.specs), len(plan.backward_graph.nodes))
        self._fields = FieldColumns(e.zero)
        self._forward_tables(e)
        self._update_tables(e)
        self._node_tables(e)
        self._fields.finish()
        self._ranges = ArrayPolicy(policy, plan.batch, *self._record_tables(e, descriptors))
        self.load(policy)

    @staticmethod
    def of(plan: Plan, descriptors: Sequence[Descriptor], policy: ExponentPolicy
           ) -> StepArrays | None:
        """Return the arrays of a plan; None for a network that they do not handle."""
        return StepArrays(plan, descriptors, policy) if handles(policy) else None

    def load(self, policy: ExponentPolicy) -> None:
        """Take the state of the exponents from a policy of the same network and loss."""
        self._policy, self._block = policy, None
        self._fold = policy.loss.fold(self._plan.batch)
        self.input_exponent = policy.input_exponent
        self._ranges.load(policy)

    def state(self) -> ArrayState:
        """Return a copy of the state of the exponents."""
        return self._ranges.state()

    def take_back(self, state: ArrayState) -> None:
        """Go back to a state; it must not be used again."""
        self._block = None
        self._ranges.take_back(state)

    def store(self) -> None:
        """Write the state of the exponents to the policy that it was taken from."""
        self._ranges.store()

    # -- tables ----------------------------------------------------------------------------------

    def _fixed(self, entry: int, opcode: Opcode, values: Mapping[str, int]) -> None:
        """Write fields of an entry that are the same in all steps."""
        words = np.frombuffer(pack_params(opcode, values), "<i8")
        self._template[PARAM_WORDS * entry : PARAM_WORDS * (entry + 1)] |= words

    def _forward_tables(self, e: Exponents) -> None:
        plan, fields, of = self._plan, self._fields, e.places
        layers, specs = plan.quant_layers, plan.specs
        entry = [param_index(Role.FORWARD, at) for at in range(len(specs))]
        on_array = [at for at, layer in enumerate(layers) if layer.on_array]
        on_vector = [at for at, layer in enumerate(layers) if not layer.on_array]
        # Pooling by windows copies values, and has no limit of its own.
        curves = [at for at in on_vector if layers[at].kind == kinds.CURVE]
        limited = [at for at in on_vector if at not in curves
                   and not (layers[at].kind.windowed or layers[at].kind.multiplies)]
        scaled = [at for at in limited if layers[at].kind == kinds.ADD]
        paired = [at for at in limited if len(layers[at].sources) > 1
                  and (layers[at].kind == kinds.ADD or layers[at].kind.normalises)]
        limits, rows = _limit_tables([layer.activation for layer in layers])
        for opcode, chosen, clipped in ((Opcode.CONV, on_array, on_array),
                                        (Opcode.VECTOR, on_vector, limited)):
            fields.add(opcode, "shift", [entry[at] for at in chosen], of("y", chosen),
                       of("total", chosen))
            fields.add_looked_up(opcode, "limit", [entry[at] for at in clipped], of("y", clipped),
                                 [rows[at] for at in clipped], limits)
        fields.add(Opcode.VECTOR, "limit", [entry[at] for at in curves], of("x", curves),
                   constant=table_number(0))
        fields.add(Opcode.CONV, "bias_shift", [entry[at] for at in on_array],
                   minus=of("total", on_array), constant=MASTER_EXPONENT)
        for name, chosen, part in (("a_scale", scaled, "x"), ("b_scale", paired, "second")):
            fields.add_powers(Opcode.VECTOR, name, [entry[at] for at in chosen], of(part, chosen),
                              of("total", chosen))
        every = [*range(len(specs))]
        fields.add(Opcode.CONV, "shift", [param_index(Role.BACKWARD, at) for at in every],
                   of("behind", every), of("dy", every), of("w", every), least=0)
        norms = [at for at, layer in enumerate(layers) if layer.kind.normalises]
        for name, part in (("z_exp", "x"), ("a_exp", "w"), ("c_exp", "total")):
            fields.add(Opcode.NORM, name, [plan.step_block.coefficients(at) for at in norms],
                       of(part, norms))
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

    def _update_tables(self, e: Exponents) -> None:
        plan, layers, of = self._plan, self._plan.quant_layers, e.places
        active = plan.backward_graph.of_layer
        weights = [at for at, one in enumerate(plan.trainable) if one.weights and at in active]
        biases = [at for at, one in enumerate(plan.trainable) if one.bias and at in active]
        for at, one in enumerate(plan.trainable):
            if one.bias and not one.weights and at in active:
                opcode = Opcode.GRADIENT if layers[at].on_array else Opcode.UPDATE
                self._fixed(param_index(Role.WEIGHT_GRADIENT, at), opcode, DEAD_UPDATE)
        array = [at for at in weights if layers[at].on_array]
        gammas = [at for at in weights if not layers[at].on_array]
        # One entry for weights or gamma, one for biases or beta; the first few decay.
        updates = [(at, 0, param_index(Role.WEIGHT_GRADIENT, at),
                    at in array and not layers[at].scale)
                   for at in (*array, *gammas)]
        updates += [(at, 1, param_index(Role.UPDATE_BIAS, at), False) for at in biases]
        ready = GRADIENT_PRESHIFT + MOMENTUM_EXPONENT
        for opcode, chosen, first, features, least in (
                (Opcode.GRADIENT, array, 0, array, -NO_BOUND),
                (Opcode.UPDATE, gammas + biases, len(array), [], 0)):
            entries = [entry for _, _, entry, _ in updates[first : first + len(chosen)]]
            self._fields.add(opcode, "w_shift", entries, of("w_next", chosen),
                             constant=-MASTER_EXPONENT, least=least)
            # 63 is the largest shift that the field holds; hardly anything is left of a sum then.
            self._fields.add(opcode, "g_shift", entries, minus=of("dy", chosen),
                             less=of("x", features), constant=ready, most=63, scaled=1)
        self._rates = RateWords(updates, len(self._template))

    def _node_tables(self, e: Exponents) -> None:
        plan, graph, of = self._plan, self._plan.backward_graph.nodes, e.places
        last, reads = gradient_places(plan.backward_graph)
        on_vector = [at for at, node in enumerate(graph) if node.kind.on_vector_unit]
        shifted = [at for at in on_vector if graph[at].target]
        scaled = [at for at in on_vector if graph[at].kind not in
                  (nodes.SPREAD, nodes.NORM, nodes.UNPOOL, nodes.DROP, nodes.CURVE,
                   nodes.PRODUCT, nodes.FACTOR)]
        curves = [at for at in on_vector if graph[at].kind == nodes.CURVE]
        sums = [at for at in scaled if graph[at].kind == nodes.SUM]
        norms = [at for at in on_vector if graph[at].kind == nodes.NORM]
        self._fields.add(Opcode.VECTOR, "shift", [plan.step_block.node(at) for at in shifted],
                         of("gradients", [last[graph[at].target] for at in shifted]),
                         of("sums", shifted))
        self._fields.add(Opcode.VECTOR, "limit", [plan.step_block.node(at) for at in curves],
                         of("x", [graph[at].layer for at in curves]), constant=table_number(0))
        for name, chosen, number in (("a_scale", scaled, 0), ("b_scale", sums, 1)):
            self._fields.add_powers(
                Opcode.VECTOR, name, [plan.step_block.node(at) for at in chosen],
                of("gradients", [reads[at][number] for at in chosen]), of("sums", chosen))
        entries = [plan.step_block.node(at, True) for at in norms]
        x = of("x", [graph[at].layer for at in norms])
        read, total = of("gradients", [reads[at][0] for at in norms]), of("sums", norms)
        for name, terms in (("z_exp", (x,)), ("g_exp", (read,)), ("a_exp", (total, read)),
                            ("b_exp", (total, x)), ("c_exp", (total,))):
            self._fields.add(Opcode.NORM, name, entries, *terms)
        self._named = np.array(sorted({last[node.target] for node in graph if node.target}),
                               np.intp)
        for at in on_vector:
            node, layer = graph[at], plan.quant_layers[graph[at].layer]
            if node.kind == nodes.SPREAD:
                self._fixed(plan.step_block.node(at), Opcode.VECTOR,
                            {"b_scale": mean_scale(layer.pixels)[0]})
            elif node.kind == nodes.DROP:
                self._fixed(plan.step_block.node(at), Opcode.VECTOR,
                            {"a_scale": keep_scale(layer.rate)[0]})

    def _record_tables(self, e: Exponents, descriptors: Sequence[Descriptor]
                       ) -> tuple[list[History], list[int]]:
        """Say of which exponent each measure is; return the histories, and layers of weights."""
        plan, of = self._plan, e.places
        graph, count = plan.backward_graph.nodes, len(plan.specs)
        _, reads = gradient_places(plan.backward_graph)
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
        pushes: list[_Push] = []
        weights: list[int] = []
        for layer in range(count):
            total, w = of("total", [layer])[0], of("w", [layer])[0]
            if ("y", layer) in measures:
                pushes.append((measures["y", layer], layer, (total, e.zero)))
            if ("a", layer) in measures:
                pushes.append((measures["a", layer], f"{plan.specs[layer].name}.a", (w, e.zero)))
            if ("w", layer) in measures:
                weights.append(layer)
        for number, node in enumerate(graph):
            rows = measures.get(("node", number), [])
            total, read = of("sums", [number])[0], of("gradients", reads[number][:1])[0]
            if node.kind == nodes.BACKWARD and not rows:
                rows = measures.get(("dx", node.layer), [])
            if node.kind == nodes.NORM and ("b", number) in measures:
                pushes.append((measures["b", number], f"{plan.specs[node.layer].name}.b",
                               (total, read)))
            if rows and node.target and not node.kind.copies:
                pushes.append((rows, node.target, (total, e.zero)))
        pushes = _once_first(pushes)
        groups = [rows for rows, _, _ in pushes] + [measures["w", layer] for layer in weights]
        records, starts = _joined(groups)
        self._measures = RECORD_WORDS * records + RECORD.at("measure").word
        self._measure_starts = None if len(starts) == len(records) else starts
        none = [e.zero] * len(weights)
        self._plus, self._minus = (
            np.array([places[at] for _, _, places in pushes] + none, np.intp) for at in (0, 1))
        self._added = np.array([0] * len(pushes) + [MASTER_EXPONENT] * len(weights)) - _FLOAT_BIAS
        self._weights = np.array(of("w_next", weights), np.intp)
        # NumPy takes an array of the same number sooner than the number.
        self._mask, self._fraction = (np.full(len(groups), one, np.int64)
                                      for one in (_MEASURE, _FLOAT_FRACTION))
        self._found = np.zeros(len(groups), np.int64)
        self._floats = np.zeros(len(groups))
        self._bits = self._floats.view(np.int64)
        return [key for _, key, _ in pushes], weights

    # -- step block ------------------------------------------------------------------------------

    def block(self, sgd: SgdStep) -> Ints | None:
        """Return the words of the step block of the next step; None where a value is unusual.

        They go on with zeros to the end of the region's last cache line, and are valid until the
        next call.

        Raises:
            BadInput: a value of the optimizer is out of the range of its field.
        """
        e = self._ranges.settle()
        scale = sgd.parts.bit_length() - 1
        if sgd.clip is not None and len(self._named):
            scale += max(0, int(e.gradients.take(self._named).max()) + FRACTION_BITS - sgd.clip)
        valid = self._plan.batch if sgd.valid is None else sgd.valid
        block, of = self._block, (e.version, scale, valid)
        # Few steps have other exponents than the one before; rates come on top.
        if block is None or block.of != of:
            block = self._block = self._made(e, of, scale, valid)
            if block is None:
                return None
        words = self._rates.add_to(block.words, sgd, self._fold, self._words)
        for entry in self._dropped:
            drawn = {"drop_seed": sgd.seed % (1 << 32), "drop_step": sgd.step % (1 << STEP_BITS)}
            words[PARAM_WORDS * entry : PARAM_WORDS * (entry + 1)] |= np.frombuffer(
                pack_params(Opcode.VECTOR, drawn), "<i8")
        return words

    @property
    def ends(self) -> tuple[int, int]:
        """Exponents of the outputs and of their gradient in the step whose block was made last."""
        e = self._ranges.exponents
        return e.y.item(-1), int(e.gradients[-1])

    def _made(self, e: Exponents, of: tuple[int, int, int], scale: int, valid: int
              ) -> _Block | None:
        """Return what follows from exponents; None where a value does not fit its field."""
        vector = e.vector
        packed = self._fields.pack(vector, scale)
        if packed is None:
            return None
        words = self._template.copy()
        words[self._fields.targets] |= packed
        loss, logits = self._policy.loss, e.y.item(-1)
        words[PARAM_WORDS * SOFTMAX_PARAM : PARAM_WORDS * (SOFTMAX_PARAM + 1)] = _softmax(
            loss, logits, valid)
        added = vector.take(self._plus)
        added -= vector.take(self._minus)
        added += self._added
        return _Block(of, words, added, vector.take(self._weights), loss.unit(logits))

    # -- records ---------------------------------------------------------------------------------

    def take(self, records: NDArray[np.uint8]) -> StepResult:
        """Take note of the records of the step whose block was made last.

        Args:
            records: uint8, the bytes of symbol ``train.records``.
        """
        block, words = self._block, self._results.words(records)
        assert block is not None, "block was called before"
        measured = words.take(self._measures)
        if self._measure_starts is not None:
            measured = np.bitwise_or.reduceat(measured, self._measure_starts)
        measured &= self._mask
        # Bits of a whole number: the exponent of the double that it is, which holds all of them.
        self._floats[:] = measured
        np.right_shift(self._bits, self._fraction, out=self._found)
        self._found += block.added
        seen = None if np.count_nonzero(measured) == len(measured) else measured != 0
        self._ranges.observe(self._found, block.next_weights, seen)
        loss, correct = self._results.softmax(words)
        return StepResult(loss * block.unit, correct, self._results.saturations(words))


def _joined(groups: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Return all rows of groups, one group behind the other, and where each begins."""
    sizes = [len(group) for group in groups]
    # Of the processor's size, as all that is looked up by take(): 32 bits on a Zynq-7000.
    rows = np.array([row for group in groups for row in group], np.intp)
    return rows, np.cumsum([0, *sizes[:-1]])


def _once_first(pushes: Sequence[_Push]) -> list[_Push]:
    """Return pushes to histories: of each history the first one, and behind these all others."""
    first: dict[History, _Push] = {}
    again: list[_Push] = []
    for one in pushes:
        if first.setdefault(one[1], one) is not one:
            again.append(one)
    return [*first.values(), *again]


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
