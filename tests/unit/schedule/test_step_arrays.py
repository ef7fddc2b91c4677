"""Step blocks and records in arrays, against the functions that define them, on random networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pynq_train.check.random_nets import random_net
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import RECORD_WORDS
from pynq_train.layers import fuse, init_params
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant import ExponentPolicy, Loss, SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.lower.records import read_records
from pynq_train.schedule.lower.step_arrays import StepArrays
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import select

BOARD = BOARDS["pynq-z2"]
STEPS = 24
"""More than a history holds."""


def random_records(plan: Plan, draw: np.random.Generator, wide: int) -> np.ndarray:
    """Records with measures of 0 to ``wide`` bits, some of them zero, and a few saturations."""
    words = np.zeros((len(plan.train), RECORD_WORDS), np.int64)
    bits = draw.integers(0, wide, len(words))
    words[:, 0] = np.where(draw.random(len(words)) < 0.9,
                           (1 << bits) + draw.integers(0, 1 << bits), 0)
    words[:, 1] = np.where(draw.random(len(words)) < 0.1, draw.integers(0, 1 << 20, len(words)), 0)
    for row, one in zip(words, plan.train):
        if one.role == Role.SOFTMAX:
            row[:2] = draw.integers(-1 << 40, 1 << 40), draw.integers(0, plan.batch + 1)
        elif one.role == Role.WEIGHT_GRADIENT:
            row[0] &= (1 << 31) - 1
    return words.view(np.uint8).reshape(-1)


def random_sgd(draw: np.random.Generator, layers: int, step: int) -> SgdStep:
    """Values of a step: with and without clipping, accumulation, rates of layers."""
    parts = int(draw.choice([1, 1, 3]))
    factors = tuple((float(a), float(b)) for a, b in draw.choice([0.0, 0.5, 1.0], (layers, 2)))
    return SgdStep(float(draw.choice([0.0, 0.01, 0.3])), float(draw.choice([0, 0.9])),
                   float(draw.choice([0, 1e-4])), valid=None if draw.random() < 0.5 else 1,
                   factors=factors if draw.random() < 0.5 else (),
                   clip=None if draw.random() < 0.5 else int(draw.integers(-8, 8)),
                   nesterov=parts == 1 and bool(draw.random() < 0.5), parts=parts,
                   part=int(draw.integers(0, parts)), seed=-5, step=step)


def compare(layers: tuple[FusedLayer, ...], batch: int, seed: int, loss: Loss, wide: int,
            trainable: str = "all") -> int:
    """Take steps with both; return in how many the arrays made the block themselves."""
    plan = replace(make_plan(layers, batch, BOARD, trainable=select(layers, trainable)), loss=loss)
    masters = {name: Masters.of(one) for name, one in init_params(layers, seed).items()}
    wanted, mine = (new_policy(plan, masters, 3) for _ in range(2))
    arrays = StepArrays.of(plan, plan.train, mine)
    if arrays is None:
        return -1
    draw, made = np.random.default_rng(seed), 0
    for step in range(STEPS):
        sgd = random_sgd(draw, len(layers), step)
        records = random_records(plan, draw, wide)
        used = wanted.exponents(batch)
        try:
            block: bytes | None = pack_step_block(plan, plan_params(plan, used, sgd))
        except ValueError:  # a value that no field holds
            block = None
        found = arrays.block(sgd)
        if found is not None:
            assert block is not None and found.tobytes()[: len(block)] == block, f"step {step}"
            assert not any(found.tobytes()[len(block):])
            made += 1
        else:
            assert block is None
            break  # nothing that is measured in a step that does not run changes that
        said = read_records(plan, plan.train, records)
        wanted.observe(used, said.measures)
        taken = arrays.take(records)
        assert taken.loss_sum == said.loss_sum * loss.unit(used.logits)
        assert taken.correct == said.correct
        assert taken.saturations == {name: count for name, count in said.saturations.items()
                                     if count}
        if step % 5 == 4:  # what somebody sees of the state, and goes on with
            arrays.store()
            same(mine, wanted)
            if step % 2:
                arrays.load(mine)
    arrays.store()
    same(mine, wanted)
    return made


def same(mine: ExponentPolicy, wanted: ExponentPolicy) -> None:
    """Histories that are there and empty say the same as none."""
    found, other = mine.to_dict(), wanted.to_dict()
    for one in (found, other):
        one["extra"] = {name: history for name, history in one["extra"].items() if history}
    assert found == other


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int) -> None:
    net = random_net(seed)
    layers = fuse(net.graph)
    loss = (Loss("cross-entropy", 0.1, net.graph.classes), Loss("mse", 0.0, net.graph.classes))
    made = compare(layers, net.batch, seed, loss[seed % 2], (24, 28, 40)[seed % 3])
    assert made < 0 or seed % 3 == 2 or made == STEPS


@pytest.mark.parametrize("trainable", ["all", "last-layer", "last-block", "bias", "norm"])
@pytest.mark.parametrize("net", ["digits", "1x", "resnet20", "ds_cnn_s"])
def test_networks_of_the_zoo(net: str, trainable: str) -> None:
    if trainable == "norm" and net in ("digits", "1x"):
        pytest.skip("it has no normalisation")
    graph = zoo.get(net)
    assert compare(fuse(graph), 4, 1, Loss(classes=graph.classes), 24, trainable) == STEPS


def test_networks_with_branches() -> None:
    """Those that random_net draws are chains: residual sums, masks and views as well."""
    from pynq_train.check.random_branches import random_branched_net

    handled = 0
    for seed in range(30):
        net = random_branched_net(seed)
        made = compare(fuse(net.graph), net.batch, seed, Loss(classes=net.graph.classes), 24)
        handled += made == STEPS
    assert handled >= 10


def test_a_value_that_no_field_holds_is_left_to_the_definition() -> None:
    """It is refused there by name."""
    graph = zoo.get("digits")
    layers = fuse(graph)
    plan = make_plan(layers, 4, BOARD)
    masters = {name: Masters.of(one) for name, one in init_params(layers, 0).items()}
    policy = new_policy(plan, masters, 3)
    policy.w16[0] = 120
    arrays = StepArrays.of(plan, plan.train, policy)
    assert arrays is not None and arrays.block(SgdStep(0.1)) is None
    with pytest.raises(ValueError, match="field z_shift: expected"):
        pack_step_block(plan, plan_params(plan, policy.exponents(4), SgdStep(0.1)))
