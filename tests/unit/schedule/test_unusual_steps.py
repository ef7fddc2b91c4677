"""Steps that arrays leave to the definition, and what they would do with other networks."""

from __future__ import annotations

import numpy as np
import pytest
from test_step_arrays import BOARD, random_records, same

from pynq_train.graph import Sequential
from pynq_train.layers import fuse, init_params
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.quant.array_policy import ArrayPolicy
from pynq_train.quant.policy import MAX_GRADIENT_EXPONENT
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.lower.step_arrays import StepArrays, _joined, _rounds, _scales
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
    """Each round has a history once: of several measures the last one is the newest."""
    assert [one.tolist() for one in _rounds([3, 4, 3, 5, 3, 4])] == [[0, 1, 3], [2, 5], [4]]
    assert [one.tolist() for one in _rounds([2, 0, 1])] == [[0, 1, 2]]
    assert [one.tolist() for one in _rounds([])] == [[]]
    assert [one.tolist() for one in _rounds([7, 7])] == [[0], [1]]


@pytest.mark.parametrize("parts", [2, 3])
def test_rounds_say_what_one_would(parts: int) -> None:
    """In whatever parts measures are taken, all of them are, and zeros are left out of each."""
    plan, policy = made()
    other = made()[1]
    whole, pieces = (StepArrays.of(plan, plan.train, one) for one in (policy, other))
    assert whole is not None and pieces is not None
    count = len(pieces._slots)
    pieces._rounds = [np.arange(part, count, parts) for part in range(parts)]
    draw = np.random.default_rng(parts)
    for step in range(20):
        records = random_records(plan, draw, 24)
        found, wanted = pieces.block(SGD), whole.block(SGD)
        assert found is not None and wanted is not None and np.array_equal(found, wanted), step
        assert pieces.take(records) == whole.take(records)
    pieces.store()
    whole.store()
    same(other, policy)


@pytest.mark.parametrize(("groups", "rows", "starts"), [
    ([[4, 2], [7], [1, 3, 5]], [4, 2, 7, 1, 3, 5], [0, 2, 3]), ([[9]], [9], [0])])
def test_groups_side_by_side(groups: list[list[int]], rows: list[int], starts: list[int]) -> None:
    assert [one.tolist() for one in _joined(groups)] == [rows, starts]


def test_scales_are_powers_of_two_or_nothing() -> None:
    above = np.array([-70, -1, 0, 1, 22, 62, 63, 200])
    assert _scales(above).tolist() == [0, 0, 1, 2, 1 << 22, 1 << 62, 1 << 62, 1 << 62]
    assert not len(_scales(np.zeros(0, np.int64)))


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


@pytest.mark.parametrize("back", [False, True])
def test_exponents_that_do_not_settle_are_left_to_the_definition(back: bool) -> None:
    """No network has such a loop: a layer, or a gradient, that is read by itself and grows."""
    plan, policy = made()
    at = next(at for at, layer in enumerate(plan.quant_layers) if layer.kind.normalises)
    name = plan.quant_layers[at].name
    policy.extra[f"{name}.{'b' if back else 'a'}"] = [60]
    ranges = ArrayPolicy(policy, 4)
    assert ranges.exponents() is not None
    if back:
        number = next(number for number, node in enumerate(plan.backward_graph.nodes)
                      if node.layer == at and str(node.kind) == "norm")
        ranges._read[number] = number
    else:
        ranges._src[at] = at
    ranges.load(policy)
    if back:  # gradients have a largest exponent, at which any loop ends
        found = ranges.exponents()
        assert found is not None and found.gradients.max() <= MAX_GRADIENT_EXPONENT
    else:
        assert ranges.exponents() is None
