"""Steps that arrays leave to the definition, and what they would do with other networks."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pytest
from test_step_arrays import BOARD, random_records, same

from pynq_train.graph import Sequential
from pynq_train.hw.commands import PARAM_WORDS, Opcode, unpack_params
from pynq_train.layers import fuse, init_params
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.quant.array_policy import ArrayPolicy, History
from pynq_train.quant.policy import HISTORY_STEPS
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.lower.field_columns import FieldColumns
from pynq_train.schedule.lower.step_arrays import StepArrays, _joined, _once_first
from pynq_train.schedule.plan import Plan, make_plan

SGD = SgdStep(0.01, 0.9)


def made() -> tuple[Plan, ExponentPolicy]:
    """Two normalised convolutions and a dense layer, at the start of their training."""
    net = Sequential((3, 6, 6)).conv(5, 3, padding=1).norm().relu().conv(4, 3).norm().relu()
    layers = fuse(net.global_pool().dense(3).build())
    plan = make_plan(layers, 4, BOARD)
    masters = {name: Masters.of(one) for name, one in init_params(layers, 1).items()}
    return plan, new_policy(plan, masters, 3)


def test_measures_of_one_history_come_in_order() -> None:
    """Each history once; what comes again stands behind, in the order in which it came."""
    names: list[History] = [3, "a", 3, 5, 3, "a"]
    pushes = [([at], key, (0, 0)) for at, key in enumerate(names)]
    assert [rows[0] for rows, _, _ in _once_first(pushes)] == [0, 1, 3, 2, 4, 5]
    assert _once_first(pushes[:2]) == pushes[:2] and not _once_first([])


def histories(policy: ExponentPolicy, names: Sequence[History]) -> dict[History, list[int]]:
    """The histories of a policy, by what measures them."""
    gradients = {f"{layer.name}.dy": at for at, layer in enumerate(policy.layers)}
    return {name: policy.feature[name] if isinstance(name, int) else
            policy.gradient[gradients[name]] if name in gradients else
            policy.extra.setdefault(name, []) for name in names}


@pytest.mark.parametrize("seed", range(6))
def test_histories_hold_what_was_measured_last(seed: int) -> None:
    """Some several times a step, some of them zero, whatever they held before."""
    draw = np.random.default_rng(seed)
    plan, policy = made()
    names: list[History] = [at for at, layer in enumerate(plan.quant_layers)]
    names += [f"{layer.name}.a" for layer in plan.quant_layers if layer.kind.normalises]
    names = [names[at] for at in draw.permutation(len(names))[: 3 + seed]]
    names += [names[at] for at in draw.integers(0, 3, seed)]  # measured again, some twice
    for history in histories(policy, [*dict.fromkeys(names), 0]).values():
        history[:] = draw.integers(-9, 9, draw.integers(0, HISTORY_STEPS + 1)).tolist()
    weights = [at for at, layer in enumerate(plan.quant_layers) if layer.on_array][::-1]
    wanted = deepcopy(policy)
    ranges = ArrayPolicy(policy, 4, names, weights)
    for step in range(2 * HISTORY_STEPS + 3):
        found = draw.integers(-20, 20, len(names) + len(weights))
        copies = draw.integers(-20, -11, len(weights))
        seen = None if step % 3 == 0 else draw.random(len(found)) < 0.7
        ranges.observe(found, copies, seen)
        for at, name in enumerate(names):
            if seen is None or seen[at]:
                history = histories(wanted, [name])[name]
                history.append(int(found[at]))
                del history[:-HISTORY_STEPS]
        for at, layer in enumerate(weights, len(names)):
            if seen is None or seen[at]:
                wanted.weight_k[layer] = int(found[at])
            wanted.w16[layer] = int(copies[at - len(names)])
        if step % 4 == 3:
            ranges.store()
            same(policy, wanted)
            largest = ranges.settle()
            again = ArrayPolicy(policy, 4, names, weights).settle()
            assert np.array_equal(largest.vector, again.vector)
            if step % 8 == 7:
                ranges.load(policy)


def test_measured_histories_stand_in_front() -> None:
    _, policy = made()
    with pytest.raises(ValueError, match="expected each once before any comes again"):
        ArrayPolicy(policy, 4, [0, 0, 1])


def test_a_state_comes_back() -> None:
    """With the exponents that follow from it, and the histories."""
    plan, policy = made()
    arrays = StepArrays.of(plan, plan.train, policy)
    assert arrays is not None
    draw = np.random.default_rng(1)
    blocks, states = [], []
    records = [random_records(plan, draw, 24) for _ in range(20)]
    for one in records:
        states.append(arrays.state())
        block = arrays.block(SGD)
        assert block is not None
        blocks.append(block.copy())
        arrays.take(one)
    for back in (11, 3):
        arrays.take_back(states[back])
        for wanted, one in zip(blocks[back:], records[back:]):
            block = arrays.block(SGD)
            assert block is not None and np.array_equal(block, wanted)
            arrays.take(one)


@pytest.mark.parametrize(("groups", "rows", "starts"), [
    ([[4, 2], [7], [1, 3, 5]], [4, 2, 7, 1, 3, 5], [0, 2, 3]), ([[9]], [9], [0])])
def test_groups_side_by_side(groups: list[list[int]], rows: list[int], starts: list[int]) -> None:
    assert [one.tolist() for one in _joined(groups)] == [rows, starts]


def columns(*constants: int, scaled: int = 0) -> FieldColumns:
    """A shift of entry 3 for each constant above the first of two exponents, and its power."""
    fields = FieldColumns(zero=2)
    for at, constant in enumerate(constants, 3):
        fields.add(Opcode.VECTOR, "shift", [at], [0], constant=constant, scaled=scaled)
    fields.add_powers(Opcode.VECTOR, "a_scale", [7], [0], [1])
    fields.finish()
    return fields


@pytest.mark.parametrize(("above", "scale"), [
    (-70, 0), (-1, 0), (0, 1), (1, 2), (21, 1 << 21), (22, 1 << 22)])
def test_scales_are_powers_of_two_or_nothing(above: int, scale: int) -> None:
    fields = columns()
    packed = fields.pack(np.array([above + 5, 5, 0]), 0)
    assert packed is not None
    entry = np.zeros(8 * PARAM_WORDS, np.int64)
    entry[fields.targets] = packed
    assert unpack_params(Opcode.VECTOR, entry[7 * PARAM_WORDS :].tobytes())["a_scale"] == scale


@pytest.mark.parametrize("above", [23, 24, 62, 63, 200])
def test_scales_that_no_field_holds_are_refused(above: int) -> None:
    assert columns().pack(np.array([above, 0, 0]), 0) is None


def test_values_beside_their_fields_are_refused() -> None:
    """Of whatever column; the scale of a step counts where it is asked for."""
    assert columns(0).pack(np.array([0, 0, 0]), 9) is not None
    assert columns(0, -1).pack(np.array([0, 0, 0]), 0) is None
    assert columns(0, -1).pack(np.array([1, 1, 0]), 0) is not None
    assert columns(-3, scaled=1).pack(np.array([0, 0, 0]), 3) is not None
    assert columns(-3, scaled=1).pack(np.array([0, 0, 0]), 2) is None


@pytest.mark.parametrize(("history", "unusual"), [(3, False), (120, True), (250, True)])
def test_outputs_beyond_the_tables_are_left_to_the_definition(history: int, unusual: bool) -> None:
    """A checkpoint of somebody else's may say so; the definition refuses it by name."""
    plan, policy = made()
    name = next(layer.name for layer in plan.quant_layers if layer.kind.normalises)
    policy.extra[f"{name}.a"] = [history]
    arrays = StepArrays.of(plan, plan.train, policy)
    assert arrays is not None
    assert (arrays.block(SGD) is None) is unusual
    # What is usual again is made again.
    policy.extra[f"{name}.a"] = [4]
    arrays.load(policy)
    assert arrays.block(SGD) is not None
